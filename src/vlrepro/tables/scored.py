"""One evaluation's cells and differences as a table shows them: with intervals, pending, or failed to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlrepro.tables.cells import Cells
from vlrepro.tables.parts import Cell
from vlrepro.tables.statistics import RESAMPLES, Interval, Resampled, interval, mean_interval, paired_difference
from vlrepro.tables.study import AVERAGE, TableRow


@dataclass(frozen=True)
class Scored:
    """The resampled cells of one evaluation by (recipe, set), and their averages over `sets`."""

    cells: Cells
    evaluation: str
    sets: Sequence[str]
    resampled: Mapping[tuple[str, str], Resampled]

    @classmethod
    def of(cls, cells: Cells, evaluation: str, sets: Sequence[str], resamples: int = RESAMPLES) -> Scored:
        """Resample the cells of `sets`. Raises `UserError` for scores that cannot be."""
        return cls(cells, evaluation, sets, cells.resampled(evaluation, sets, resamples))

    def mean(self, row: TableRow, variant: str | None, column: str) -> Cell:
        """The mean of a row on a set, or on average over them; blank in a variant that it does not have."""
        recipe = row.key_of(variant)
        if recipe is None:
            return Cell("blank" if row.recipes else "not run")
        found = self.resampled.get((recipe, column))
        return self._failed([recipe], column) or _cell(None if found is None else mean_interval(found))

    def difference(self, recipe: str | None, base: str | None, column: str) -> Cell:
        """The paired difference of two recipes on a set, or on average over them; blank where they are not two."""
        if recipe is None or base is None or recipe == base:
            return Cell("blank")
        found = paired_difference(self.resampled.get((recipe, column)), self.resampled.get((base, column)))
        return self._failed([recipe, base], column) or _cell(None if found is None else interval(found))

    def seeds(self) -> set[int]:
        """The seeds that have scores, and those that failed."""
        scored = {seed for cell in self.resampled.values() for seed in cell.seeds}
        failed = self.cells.failed.get(self.evaluation, {})
        return scored | {seed for (_, column), seeds in failed.items() if column in self.sets for seed in seeds}

    def _failed(self, recipes: Sequence[str], column: str) -> Cell | None:
        failure = self.cells.failure(self.evaluation, recipes, self.sets if column == AVERAGE else [column])
        return Cell("failed", n_seeds=failure.seeds, text=str(failure)) if failure else None


def _cell(found: Interval | None) -> Cell:
    if found is None:
        return Cell("pending")
    return Cell("done", found.value, found.low, found.high, found.n_seeds, found.covers)
