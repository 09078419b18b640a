"""Strict models of `config/papers/*.yaml`: what a paper prints, where, and what it claims.

Imported while Snakemake parses, so nothing heavy: pydantic, PyYAML and the standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, model_validator

from vlrepro.config import Slug, Strict, validate
from vlrepro.errors import UserError

AVERAGE = "avg"
"""Name of the column that holds the mean of the others."""

Text = Annotated[str, Field(min_length=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Direction = Literal["above", "below"]
Quantifier = Literal["average", "most", "every"]


class Entry(Strict):
    """A model that also refuses values of another type, such as a number in quotes."""

    model_config = ConfigDict(strict=True)


class PaperColumn(Entry):
    """A column as the paper heads it; `name` is the data set's key in our configuration, or `avg`."""

    name: Slug
    title: Text


class TableRow(Entry):
    """A row: the numbers that the paper prints for it and the recipe of ours that fills it.

    `reported` is in percent, in the order of the table's columns, null where the paper's cell is blank; it is
    left out for a row that the paper does not have. `recipe` is null for a row that is not run. `baseline` is
    the row that differences are taken from, where it is not the table's.
    """

    id: Slug
    label: Text
    block: Text | None = None
    recipe: Slug | None = None
    baseline: Slug | None = None
    reported: list[Percent | None] | None = None

    def full_label(self) -> str:
        """The label with its block, which tells rows of the same name apart."""
        return f"{self.label} ({self.block})" if self.block else self.label


class PaperTable(Entry):
    """One numbered table: its place in the text, its columns in order, its rows in order."""

    number: Annotated[int, Field(gt=0)]
    title: Text
    caption: Text
    where: Text
    evaluation: Literal["linear", "few_shot"]
    metric: Text
    example: Text
    baseline: Slug
    columns: list[PaperColumn]
    rows: list[TableRow]
    notes: list[Text] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> PaperTable:
        _distinct([column.name for column in self.columns], "column")
        _distinct([row.id for row in self.rows], "row")
        for row in self.rows:
            if row.reported is not None and len(row.reported) != len(self.columns):
                raise ValueError(f"row {row.id!r} reports {len(row.reported)} cells for {len(self.columns)} columns")
        for name in [self.baseline, *(row.baseline for row in self.rows if row.baseline)]:
            if name not in {row.id for row in self.rows}:
                raise ValueError(f"baseline {name!r} is not a row")
        return self

    def row(self, name: str) -> TableRow:
        """The row of that id. Raises `KeyError` where there is none."""
        for row in self.rows:
            if row.id == name:
                return row
        raise KeyError(name)

    def data_sets(self) -> list[PaperColumn]:
        """The paper's columns without the average."""
        return [column for column in self.columns if column.name != AVERAGE]

    def reported(self, name: str) -> dict[str, float]:
        """Column name -> percent that the paper prints in row `name`; blank cells and the average are left out."""
        cells = self.row(name).reported or [None] * len(self.columns)
        pairs = zip(self.columns, cells, strict=True)
        return {column.name: cell for column, cell in pairs if cell is not None and column.name != AVERAGE}


class ClaimTest(Entry):
    """What decides a claim: `row_a` minus `row_b` lies above (or below) 0 on the columns that `over` names.

    `average`: the mean over the columns; `most`: more than half of the columns; `every`: all of them.
    `reported_a` and `reported_b` name the paper's rows where they are not the rows of ours.
    """

    over: Quantifier
    direction: Direction
    row_a: Slug
    row_b: Slug
    reported_a: Slug | None = None
    reported_b: Slug | None = None

    def reported_rows(self) -> tuple[str, str]:
        """Ids of the rows whose printed numbers the paper's own verdict is made of."""
        return self.reported_a or self.row_a, self.reported_b or self.row_b


class PaperClaim(Entry):
    """A sentence of the paper and its testable form; `reading` says how one becomes the other.

    `kind` is `claim` for what the paper says of its own results, `control` for a test that we add.
    """

    id: Slug
    kind: Literal["claim", "control"]
    quote: Text
    where: Text
    statement: Text
    reading: Text | None = None
    table: int
    test: ClaimTest


class Study(Entry):
    """One paper: its tables, its claims, its scale, and what is odd about its numbers."""

    slug: Slug
    title: Text
    setup: Text
    notes: list[Text] = Field(default_factory=list)
    tables: list[PaperTable]
    claims: list[PaperClaim]

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        _distinct([table.number for table in self.tables], "table")
        _distinct([claim.id for claim in self.claims], "claim")
        for claim in self.claims:
            self._check_claim(claim)
        return self

    def _check_claim(self, claim: PaperClaim) -> None:
        if claim.table not in {table.number for table in self.tables}:
            raise ValueError(f"claim {claim.id!r} names table {claim.table}, which is not here")
        rows = {row.id for row in self.table(claim.table).rows}
        for name in (claim.test.row_a, claim.test.row_b, *claim.test.reported_rows()):
            if name not in rows:
                raise ValueError(f"claim {claim.id!r} names {name!r}, which is not a row of table {claim.table}")

    def table(self, number: int) -> PaperTable:
        """The table of that number.

        Raises `UserError` where the study has none.
        """
        for table in self.tables:
            if table.number == number:
                return table
        known = ", ".join(str(table.number) for table in self.tables)
        raise UserError(f"{self.slug}: there is no table {number}: choose one of {known}")


def load_study(path: str | Path) -> Study:
    """Read and check one study.

    Raises `UserError`, one line that names the file and the key, for text that is not YAML, a key given twice,
    an unknown or missing key, a value of another type, and names that lead nowhere; `OSError` for a missing file.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}: mend the YAML") from None
    return validate(Study, values, str(path))


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without silent loss: PyYAML keeps the last of two equal keys, which hides a slip in a transcription."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            name = self.construct_object(key_node, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} is given twice", key_node.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _distinct(names: list[Any], what: str) -> None:
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is given twice")
