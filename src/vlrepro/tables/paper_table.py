"""Strict models of one table: what the paper prints, and which recipes of ours fill it.

Imported while Snakemake parses, so nothing heavy: pydantic and the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vlrepro.config.base import Slug
from vlrepro.tables.claims import Entry, Text
from vlrepro.tables.printed import Printed
from vlrepro.tables.saliency_columns import PRIORS, SaliencyColumns

AVERAGE = "avg"
"""Name of the column that holds the mean of the others."""


class PaperColumn(Entry):
    """A column as the paper heads it; `name` is the data set's key in our configuration, or `avg`.

    A column of a grid says what fills it instead (`evaluation`, `set` and, in a table with variants, `variant`) and
    has any name. `group` is the heading over it and its neighbours, the variant's title where it is left out;
    `chance` the percent that guessing gets right. An `extra` column is one of ours that the paper does not print. Where
    a grid's rows name their sets, its columns do not.
    """

    name: Slug
    title: Text
    group: Text | None = None
    evaluation: Slug | None = None
    set: Slug | None = None
    variant: Slug | None = None
    chance: Printed | None = None
    extra: bool = False


class TableRow(Entry):
    """A row: the numbers that the paper prints for it and the recipe of ours that fills it.

    `reported` is in percent, in the order of the columns that the paper prints, null where the paper's cell is blank;
    it is left out for a row that the paper does not have. `recipe` is null for a row that is not run. A row of a table
    with variants has `recipes` instead, one a variant; a variant that is null or left out is blank. `baselines` are
    the rows that differences are taken from, where they are not the table's baseline; none where it is empty.
    In saliency tables `probe` is a control in the trained probe's place, and `prior` a map that is no model's.
    `set` is the data set of a row of a grid whose rows, not columns, are data sets; `mean_of` are the rows whose mean
    the paper prints here.
    """

    id: Slug
    label: Text
    block: Text | None = None
    recipe: Slug | None = None
    recipes: dict[Slug, Slug | None] = Field(default_factory=dict)
    probe: Literal["shuffled", "random"] | None = None
    prior: Literal[PRIORS] | None = None  # type: ignore[valid-type]
    set: Slug | None = None
    mean_of: list[Slug] = Field(default_factory=list)
    baselines: list[Slug] | None = None
    reported: list[Printed | None] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> TableRow:
        if self.prior and (self.recipe or self.probe):
            raise ValueError(f"row {self.id!r}: a prior has no recipe and no probe")
        if self.probe and not self.recipe:
            raise ValueError(f"row {self.id!r}: a probe needs the recipe of its backbone")
        if self.recipes and (self.recipe or self.prior):
            raise ValueError(f"row {self.id!r}: give either recipe, prior or recipes")
        return self

    @property
    def key(self) -> str | None:
        """What its scores are called in cells: the recipe, `<recipe>+<probe>`, or the prior; None if it is not run."""
        return self.prior or (f"{self.recipe}+{self.probe}" if self.probe else self.recipe)

    def key_of(self, variant: str | None) -> str | None:
        """Its `key` in a variant of the table; None if it is blank there. Without a variant, `key`."""
        return self.key if variant is None else self.recipes.get(variant)

    def all_recipes(self) -> list[str]:
        """The recipes that fill it, one a variant."""
        return [name for name in (self.recipe, *self.recipes.values()) if name]

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

    A printed table has one evaluation, and our columns are the data sets; where its columns name their evaluations it
    is a grid, whose columns are the same at every scale. A table that we add may be a grid too; otherwise it has a
    column for each of `evaluations`, the mean over the data sets (`sets`, or all), for each of `variants`; `models`
    adds each backbone's parameters and feature width. `variants` (key -> title) are what a row has one recipe each of,
    such as encoders.
    Where its rows are data sets, `model` names what is scored on them, unless variants do; `searches` are those whose
    queries the report shows.
    The columns of a table with `saliency` are the scores of each method's maps.
    """

    name: Slug
    number: Annotated[int, Field(gt=0)] | None = None
    title: Text
    caption: Text | None = None
    where: Text | None = None
    evaluations: list[Slug] = Field(min_length=1)
    sets: list[Slug] | None = Field(None, min_length=1)
    metric: Text | None = None
    baseline: Slug | None = None
    variants: dict[Slug, Text] = Field(default_factory=dict)
    columns: list[PaperColumn] = Field(default_factory=list)
    models: bool = False
    saliency: SaliencyColumns | None = None
    model: Text | None = None
    searches: list[Slug] = Field(default_factory=list)
    rows: list[TableRow]
    notes: list[Text] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> PaperTable:
        distinct([column.name for column in self.columns], "column")
        distinct([row.id for row in self.rows], "row")
        distinct(self.evaluations, "evaluation")
        for key in ("caption", "where", "metric"):
            if bool(getattr(self, key)) != self.printed:
                raise ValueError(f"table {self.name!r}: number and {key} go together")
        if (self.printed and not self.columns) or (self.columns and not (self.printed or self.grid)):
            raise ValueError(f"table {self.name!r}: a printed table has columns, another only where they are a grid")
        if self.printed and not self.grid and len(self.evaluations) > 1:
            raise ValueError(f"table {self.name!r} is printed and has {len(self.evaluations)} evaluations")
        if self.sets and (self.printed or self.saliency):
            raise ValueError(f"table {self.name!r}: sets are for tables that the paper does not print")
        for column in self.columns:
            self._check_column(column)
        for row in self.rows:
            self._check_row(row)
        self._check_baselines()
        if self.saliency:
            self._check_saliency(self.saliency)
        return self

    def _check_column(self, column: PaperColumn) -> None:
        place = f"table {self.name!r}: column {column.name!r}"
        if not self.grid:
            if column.set or column.variant or column.extra:
                raise ValueError(f"{place}: set, variant and extra are for columns that name their evaluation")
            return
        if column.evaluation not in self.evaluations:
            raise ValueError(f"{place} names {column.evaluation!r}, which is not under the table's evaluations")
        if (column.set is None) != self.sets_in_rows:
            raise ValueError(f"{place}: a column that names its evaluation needs a set, unless all rows name theirs")
        if (column.variant is None) == bool(self.variants) or column.variant not in (None, *self.variants):
            raise ValueError(f"{place} needs one of the table's variants, or none where it has none")

    def _check_row(self, row: TableRow) -> None:
        if (row.prior or row.probe) and not self.saliency:
            raise ValueError(f"row {row.id!r}: probe and prior are for saliency tables")
        if (row.set is not None) != self.sets_in_rows or (row.set and not self.grid):
            raise ValueError(f"row {row.id!r}: set is for grids, and for all of their rows or none")
        if self.variants and row.recipe:
            raise ValueError(f"row {row.id!r}: the table has variants: give recipes")
        for variant in row.recipes:
            if variant not in self.variants:
                raise ValueError(f"row {row.id!r}: {variant!r} is not a variant of table {self.name!r}")
        columns = self.printed_columns()
        if row.reported is not None and len(row.reported) != len(columns):
            raise ValueError(f"row {row.id!r} reports {len(row.reported)} cells for {len(columns)} columns")

    def _check_baselines(self) -> None:
        known = {row.id for row in self.rows}
        for name in [
            *([self.baseline] if self.baseline else []),
            *(b for row in self.rows for b in [*(row.baselines or []), *row.mean_of]),
            *self.searches,
        ]:
            if name not in known:
                raise ValueError(f"baseline, mean_of or searches: {name!r} is not a row")
        if self.searches and not self.sets_in_rows:
            raise ValueError(f"table {self.name!r}: searches are for rows that are data sets")
        if bool(self.model) != (self.sets_in_rows and not self.variants):
            raise ValueError(
                f"table {self.name!r}: model is for rows that are data sets, and names what is scored there"
            )

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

    @property
    def grid(self) -> bool:
        """Whether its columns cross evaluations, data sets and variants."""
        return any(column.evaluation for column in self.columns)

    @property
    def sets_in_rows(self) -> bool:
        """Whether its rows are data sets, as its columns otherwise are."""
        return any(row.set for row in self.rows)

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

    def comparisons(self) -> Iterator[tuple[TableRow, TableRow]]:
        """Each row with each of its baselines, where some variant has a recipe of both, not the same."""
        for row in self.rows:
            for base in self.baselines_of(row):
                keys = [(row.key_of(variant), base.key_of(variant)) for variant in self.every_variant()]
                if any(first and second and first != second for first, second in keys):
                    yield row, base

    def every_variant(self) -> Iterable[str | None]:
        """The keys of its variants; one None where it has none."""
        return self.variants or (None,)

    def group_of(self, column: PaperColumn) -> str:
        """The heading over a column; empty where it has none."""
        return column.group or self.variants.get(column.variant or "", "")

    def column_label(self, column: PaperColumn) -> str:
        """A column's title with the heading over it."""
        return f"{self.group_of(column)} {column.title}".strip()

    def printed_columns(self) -> list[PaperColumn]:
        """The columns that the paper has."""
        return [column for column in self.columns if not column.extra]

    def data_sets(self) -> list[PaperColumn]:
        """The paper's columns without the average."""
        return [column for column in self.printed_columns() if column.name != AVERAGE]

    def sets_of(self, evaluation: str, variant: str | None, evaluated: Sequence[str]) -> Sequence[str]:
        """The sets whose scores the table is about: its columns', those of its `sets` that were evaluated, or all."""
        if self.grid:
            chosen = (c for c in self.printed_columns() if (c.evaluation, c.variant) == (evaluation, variant))
            return [column.set for column in chosen if column.set]
        return evaluated if self.sets is None else [name for name in self.sets if name in evaluated] or self.sets

    def scored_on(self, row: TableRow) -> dict[str, str]:
        """Recipe -> what it is called, of a row that is a data set."""
        keys = {
            row.key_of(variant): self.variants.get(variant or "", self.model or "") for variant in self.every_variant()
        }
        return {key: title for key, title in keys.items() if key}

    def about(self, name: str) -> bool:
        """Whether a set has to do with the table."""
        named = {entry.set for entry in (*self.columns, *self.rows)} if self.grid else self.sets
        return named is None or name in named

    def sets_of_row(
        self, row: TableRow, evaluation: str, variant: str | None, evaluated: Sequence[str]
    ) -> Sequence[str]:
        """The sets whose scores a row is about: its own, or the table's."""
        return [row.set] if row.set else self.sets_of(evaluation, variant, evaluated)

    def reported(self, name: str) -> dict[str, float]:
        """Column name -> percent that the paper prints in row `name`; blank cells and the average are left out."""
        columns = self.printed_columns()
        cells = self.row(name).reported or [None] * len(columns)
        pairs = zip(columns, cells, strict=True)
        return {column.name: cell for column, cell in pairs if cell is not None and column.name != AVERAGE}

    def reported_under(self, name: str, evaluation: str, variant: str | None) -> dict[str, float]:
        """Set -> percent that the paper prints in row `name` under one evaluation (of one variant).

        A cell of a table whose rows are data sets goes by its column's name, so that rows can be compared.
        """
        cells = self.reported(name)
        if not self.grid:
            return cells if evaluation in self.evaluations else {}
        return {
            column.set or column.name: cells[column.name]
            for column in self.printed_columns()
            if (column.evaluation, column.variant) == (evaluation, variant) and column.name in cells
        }


def distinct(names: list[Any], what: str) -> None:
    """Raises `ValueError` where a name is given twice."""
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is given twice")
