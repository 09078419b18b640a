"""Strict models of `config/papers/*.yaml`: what a paper prints, where, what it claims, and which rows are run.

Imported while Snakemake parses, so nothing heavy: pydantic, PyYAML and the standard library only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from vlrepro.config.base import Slug, validate
from vlrepro.errors import UserError
from vlrepro.tables.claims import AgreementTest, Entry, PaperClaim, PurityTest, ScoreTest, Text, Version
from vlrepro.tables.saliency_columns import PRIORS, SaliencyColumns, expanded

AVERAGE = "avg"
"""Name of the column that holds the mean of the others."""


class PaperColumn(Entry):
    """A column as the paper heads it; `name` is the data set's key in our configuration, or `avg`."""

    name: Slug
    title: Text


class TableRow(Entry):
    """A row: the numbers that the paper prints for it and the recipe of ours that fills it.

    `reported` is in percent, in the order of the table's columns, null where the paper's cell is blank; it is
    left out for a row that the paper does not have. `recipe` is null for a row that is not run. `baselines` are
    the rows that differences are taken from, where they are not the table's baseline; none where it is empty.
    In saliency tables `probe` is a control in the trained probe's place, and `prior` a map that is no model's.
    """

    id: Slug
    label: Text
    block: Text | None = None
    recipe: Slug | None = None
    probe: Literal["shuffled", "random"] | None = None
    prior: Literal[PRIORS] | None = None  # type: ignore[valid-type]
    baselines: list[Slug] | None = None
    reported: list[int | float | None] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> TableRow:
        if self.prior and (self.recipe or self.probe):
            raise ValueError(f"row {self.id!r}: a prior has no recipe and no probe")
        if self.probe and not self.recipe:
            raise ValueError(f"row {self.id!r}: a probe needs the recipe of its backbone")
        return self

    @property
    def key(self) -> str | None:
        """What its scores are called in cells: the recipe, `<recipe>+<probe>`, or the prior; None if it is not run."""
        return self.prior or (f"{self.recipe}+{self.probe}" if self.probe else self.recipe)

    def full_label(self) -> str:
        """The label with its block, which tells rows of the same name apart."""
        return f"{self.label} ({self.block})" if self.block else self.label

    def minus(self, other: TableRow) -> str:
        """The label of a difference of rows; a block that both share is named once."""
        if self.block and self.block == other.block:
            return f"{self.label} minus {other.label} ({self.block})"
        return f"{self.full_label()} minus {other.full_label()}"


class PaperTable(Entry):
    """A table: one that the paper prints, with its number, place and columns, or one that we add, without them.

    A printed table has one evaluation, and our columns are the data sets. A table that we add has a column for each
    of `evaluations`, the mean over the data sets; `models` adds each backbone's parameters and feature width. That of
    a table with `saliency` are the scores of each method's maps.
    """

    name: Slug
    number: Annotated[int, Field(gt=0)] | None = None
    title: Text
    caption: Text | None = None
    where: Text | None = None
    evaluations: list[Slug] = Field(min_length=1)
    metric: Text | None = None
    baseline: Slug | None = None
    columns: list[PaperColumn] = Field(default_factory=list)
    models: bool = False
    saliency: SaliencyColumns | None = None
    rows: list[TableRow]
    notes: list[Text] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> PaperTable:
        distinct([column.name for column in self.columns], "column")
        distinct([row.id for row in self.rows], "row")
        distinct(self.evaluations, "evaluation")
        for key in ("caption", "where", "metric", "columns"):
            if bool(getattr(self, key)) != self.printed:
                raise ValueError(f"table {self.name!r}: number and {key} go together")
        if self.printed and len(self.evaluations) > 1:
            raise ValueError(f"table {self.name!r} is printed and has {len(self.evaluations)} evaluations")
        known = {row.id for row in self.rows}
        for row in self.rows:
            if (row.prior or row.probe) and not self.saliency:
                raise ValueError(f"row {row.id!r}: probe and prior are for saliency tables")
            if row.reported is not None and len(row.reported) != len(self.columns):
                raise ValueError(f"row {row.id!r} reports {len(row.reported)} cells for {len(self.columns)} columns")
        for name in [
            *([self.baseline] if self.baseline else []),
            *(b for row in self.rows for b in row.baselines or []),
        ]:
            if name not in known:
                raise ValueError(f"baseline {name!r} is not a row")
        if self.saliency:
            self._check_saliency(self.saliency)
        return self

    def _check_saliency(self, columns: SaliencyColumns) -> None:
        if self.evaluations != list(columns.evaluations()):
            raise ValueError(f"table {self.name!r}: saliency decides its evaluations: leave them out")
        named = [("gains", name) for name in columns.gains] + [("gallery", name) for name in columns.gallery]
        for key, name in named:
            if name not in {row.id for row in self.rows}:
                raise ValueError(f"saliency.{key}: {name!r} is not a row")
        for row in map(self.row, columns.gallery):
            if row.prior or row.probe:
                raise ValueError(f"saliency.gallery: {row.id!r} is a prior or a control: only trained probes are shown")

    @property
    def printed(self) -> bool:
        """Whether the paper prints it."""
        return self.number is not None

    def heading(self) -> str:
        """How it is called: "Table 1: Linear probe", or its title alone."""
        return f"Table {self.number}: {self.title}" if self.printed else self.title

    def row(self, name: str) -> TableRow:
        """The row of that id. Raises `KeyError` where there is none."""
        for row in self.rows:
            if row.id == name:
                return row
        raise KeyError(name)

    def baselines_of(self, row: TableRow) -> list[TableRow]:
        """The rows that differences of `row` are taken from."""
        names = row.baselines if row.baselines is not None else [self.baseline] if self.baseline else []
        return [self.row(name) for name in names if name != row.id]

    def data_sets(self) -> list[PaperColumn]:
        """The paper's columns without the average."""
        return [column for column in self.columns if column.name != AVERAGE]

    def reported(self, name: str) -> dict[str, float]:
        """Column name -> percent that the paper prints in row `name`; blank cells and the average are left out."""
        cells = self.row(name).reported or [None] * len(self.columns)
        pairs = zip(self.columns, cells, strict=True)
        return {column.name: cell for column, cell in pairs if cell is not None and column.name != AVERAGE}


class EvaluationText(Entry):
    """An evaluation in words: its heading, what an interval samples ("test images"), and how it scores."""

    title: Text
    examples: Text
    shows: Text


class Mention(Entry):
    """A table or figure that the text sends its reader to, as the text names it."""

    name: Text
    where: Text
    quote: Text


class Disagreement(Entry):
    """Places of the paper that say different things of one matter."""

    about: Text
    versions: list[Version] = Field(min_length=2)


class Study(Entry):
    """One paper: its scale, its tables, its claims, and what its text leaves open or says twice."""

    slug: Slug
    title: Text
    setup: Text
    notes: list[Text] = Field(default_factory=list)
    figures: list[Text] = Field(default_factory=list)
    mentions: list[Mention] = Field(default_factory=list)
    disagreements: list[Disagreement] = Field(default_factory=list)
    evaluations: dict[Slug, EvaluationText]
    tables: list[PaperTable]
    claims: list[PaperClaim]

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        distinct([table.name for table in self.tables], "table")
        distinct([table.number for table in self.tables if table.printed], "table")
        distinct([claim.id for claim in self.claims], "claim")
        for table in self.tables:
            for name in table.evaluations:
                if name not in self.evaluations:
                    raise ValueError(f"table {table.name!r} names {name!r}, which is not under evaluations")
        for claim in self.claims:
            for name in claim.tables:
                self._check_claim(claim, name)
        return self

    def _check_claim(self, claim: PaperClaim, name: str) -> None:
        if name not in {table.name for table in self.tables}:
            raise ValueError(f"claim {claim.id!r} names table {name!r}, which is not here")
        table, test = self.table(name), claim.test
        if isinstance(test, AgreementTest) and name == claim.tables[-1]:
            self._check_agreement(claim, test)
        if not isinstance(test, ScoreTest):
            return
        known = {row.id for row in table.rows}
        for row in [*test.rows(), *(row for pair in test.reported or [] for row in pair)]:
            if row not in known:
                raise ValueError(f"claim {claim.id!r} names {row!r}, which is not a row of table {name!r}")
        for evaluation in test.evaluations or []:
            if evaluation not in table.evaluations:
                raise ValueError(f"claim {claim.id!r} names {evaluation!r}, no evaluation of table {name!r}")

    def _check_agreement(self, claim: PaperClaim, test: AgreementTest) -> None:
        first = self.table(claim.tables[0])
        distinct(test.rows, f"claim {claim.id!r}: row")
        distinct(test.between, f"claim {claim.id!r}: evaluation")
        known = {row.id: row for row in first.rows}
        for row in test.rows:
            if row not in known:
                raise ValueError(f"claim {claim.id!r} names {row!r}, which is not a row of table {first.name!r}")
            if known[row].prior or known[row].probe:
                raise ValueError(f"claim {claim.id!r} ranks models, and row {row!r} is a prior or a control probe")
        # A model that counts twice would make the interval over models too narrow.
        distinct([known[row].recipe for row in test.rows if known[row].recipe], f"claim {claim.id!r}: recipe")
        evaluations = {e for table in self.tables if table.name in claim.tables for e in table.evaluations}
        for evaluation in test.between:
            if evaluation not in evaluations:
                raise ValueError(f"claim {claim.id!r} names {evaluation!r}, no evaluation of its tables")

    def table(self, name: str) -> PaperTable:
        """The table of that name.

        Raises `UserError` where the study has none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        known = ", ".join(table.name for table in self.tables)
        raise UserError(f"{self.slug}: there is no table {name!r}: choose one of {known}")

    def mined_pairs(self) -> list[str]:
        """Names of the mined pairs that the claims are about."""
        tests = [claim.test for claim in self.claims if isinstance(claim.test, PurityTest)]
        return sorted({name for test in tests for pair in test.pairs for name in pair})


def load_study(path: str | Path) -> Study:
    """Read and check one study.

    Raises `UserError`, one line that names the file and the key, for text that is not YAML, a key given twice,
    an unknown or missing key, a value of another type, and names that lead nowhere; `OSError` for a missing file.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}: mend the YAML") from None
    return validate(Study, expanded(values, str(path)), str(path))


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


def distinct(names: list[Any], what: str) -> None:
    """Raises `ValueError` where a name is given twice."""
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is given twice")
