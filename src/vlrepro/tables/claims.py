"""Strict models of what a paper claims and of the tests that decide it.

Imported while Snakemake parses, so nothing heavy: pydantic and the standard library only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from vlrepro.config.base import Slug, Strict

Text = Annotated[str, Field(min_length=1)]
Direction = Literal["above", "below", "equal"]
Quantifier = Literal["average", "most", "every", "mean"]
RowName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(@[a-z][a-z0-9_]*)?$")]
"""A row's id, in a table with variants also `<row>@<variant>`."""
RowPair = Annotated[list[RowName], Field(min_length=2, max_length=2)]
SlugPair = Annotated[list[Slug], Field(min_length=2, max_length=2)]
FactName = Literal["resnet_parameters", "resnet_width", "unaccounted_sets", "blank_rows", "links_left"]


class Entry(Strict):
    """A model that also refuses values of another type, such as a number in quotes."""

    model_config = ConfigDict(strict=True)


def row_and_variant(name: str) -> tuple[str, str | None]:
    """A `RowName` as its row and its variant."""
    row, _, variant = name.partition("@")
    return row, variant or None


class Version(Entry):
    """What one place says."""

    where: Text
    quote: Text


class ScoreTest(Entry):
    """`a` minus `b`, for each [a, b] of `pairs`, lies above (or below) `margin` in every table of the claim.

    `over` says on which columns: `average`, the mean over them; `every`, all; `most`, more than half of all cases
    (pairs x variants x evaluations x tables x columns); `mean`, the one mean over all cases. With several pairs or
    tables all must hold, except for `most` and `mean`. `minus` is a pair whose difference is taken off: an interaction.
    `evaluations`, `sets` and `variants` are those of the tables that count, where not all; a pair is made within each
    variant, unless its rows name their own (`row@variant`). `reported` are the paper's rows where they are not the rows
    of ours. `margin` is in percentage points; direction `equal` asks for that number give or take `tolerance`.
    """

    kind: Literal["scores"]
    over: Quantifier = "average"
    direction: Direction
    pairs: list[RowPair] = Field(min_length=1)
    minus: RowPair | None = None
    reported: list[RowPair] | None = Field(None, min_length=1)
    evaluations: list[Slug] | None = None
    sets: list[Slug] | None = Field(None, min_length=1)
    variants: list[Slug] | None = Field(None, min_length=1)
    margin: float = 0.0
    tolerance: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _equality_has_a_tolerance(self) -> ScoreTest:
        if (self.direction == "equal") != (self.tolerance is not None):
            raise ValueError("direction equal and tolerance go together")
        if self.direction == "equal" and self.over not in ("average", "mean"):
            raise ValueError("direction equal is for over: average and over: mean")
        return self

    @model_validator(mode="after")
    def _all_or_none_name_variants(self) -> ScoreTest:
        for pairs in (self.pairs, self.reported or []):
            for pair in pairs:
                if len({"@" in name for name in [*pair, *(self.minus or [])]}) > 1:
                    raise ValueError(f"pair {pair}: all of its rows name a variant or none does, those of minus too")
        return self

    def names(self) -> list[str]:
        """Names of all rows, of ours and of the paper's."""
        return [
            row for pair in [*self.pairs, *([self.minus] if self.minus else []), *(self.reported or [])] for row in pair
        ]

    def bound(self) -> float:
        """`margin` as a share."""
        return self.margin / 100

    def reach(self) -> float | None:
        """`tolerance` as a share."""
        return None if self.tolerance is None else self.tolerance / 100

    def counted_from(self) -> float:
        """The bound that single differences are counted above or below; 0 for an equality."""
        return 0.0 if self.direction == "equal" else self.bound()

    def reported_pairs(self) -> list[list[str]]:
        """The pairs whose printed numbers the paper's own verdict is made of."""
        return self.reported or self.pairs


class PurityTest(Entry):
    """Mined pairs `a` share more (or fewer) concepts, classes or groups than pairs `b`, for each [a, b]."""

    kind: Literal["purity"]
    over: Literal["average"] = "average"
    direction: Literal["above", "below"]
    criterion: Literal["concept", "label", "group"]
    pairs: list[SlugPair] = Field(min_length=1)


class AgreementTest(Entry):
    """Two evaluations order the models of `rows` alike (direction `above`): see `vlrepro.tables.agreement`.

    The rows are those of the claim's first table; each evaluation is one of any of its tables.
    """

    kind: Literal["agreement"]
    over: Literal["average"] = "average"
    direction: Literal["above", "below"] = "above"
    between: SlugPair
    rows: list[Slug] = Field(min_length=4)


class ChanceTest(Entry):
    """Every one of the cells of `rows` is at chance: its interval ends no more than `tolerance` points above it.

    Direction `above` asks for the contrary, an interval wholly more than `tolerance` points above chance. A run that
    failed to train is at chance. `evaluations`, `sets` and `variants` as in `ScoreTest`.
    """

    kind: Literal["chance"]
    direction: Literal["at", "above"] = "at"
    rows: list[RowName] = Field(min_length=1)
    evaluations: list[Slug] | None = None
    sets: list[Slug] | None = Field(None, min_length=1)
    variants: list[Slug] | None = Field(None, min_length=1)
    tolerance: Annotated[float, Field(ge=0)] = 0.0

    def names(self) -> list[str]:
        """Names of all rows."""
        return self.rows


class CostTest(Entry):
    """A training step takes at most `ratio` times as long for `a` as for `b`, in the mean over the [a, b] of `pairs`.

    See `vlrepro.tables.costs`; `variants` as in `ScoreTest`.
    """

    kind: Literal["cost"]
    pairs: list[RowPair] = Field(min_length=1)
    variants: list[Slug] | None = Field(None, min_length=1)
    ratio: Annotated[float, Field(ge=1)] = 1.05

    def names(self) -> list[str]:
        """Names of all rows."""
        return [row for pair in self.pairs for row in pair]


class LedgerTest(Entry):
    """Of the links of a downloaded pack, the share without a picture lies in `dead`: see `vlrepro.tables.ledgers`."""

    kind: Literal["ledger"]
    pack: Slug
    dead: Annotated[list[float], Field(min_length=2, max_length=2)]


class FactTest(Entry):
    """A statement that code can check without a run; see `vlrepro.tables.facts`."""

    kind: Literal["fact"]
    fact: FactName
    arguments: dict[str, Any]


ClaimTest = Annotated[
    ScoreTest | PurityTest | AgreementTest | ChanceTest | CostTest | LedgerTest | FactTest,
    Field(discriminator="kind"),
]


class PaperClaim(Entry):
    """A sentence of the paper and its testable form; `reading` says how one becomes the other.

    `kind` is `claim` for what the paper says of its own results, `control` for a test that we add. A claim that no
    run of ours can test has no `test` but the reason, `untestable`. `versions` are other places that say it otherwise.
    """

    id: Slug
    kind: Literal["claim", "control"]
    quote: Text
    where: Text
    statement: Text
    reading: Text | None = None
    versions: list[Version] = Field(default_factory=list)
    tables: list[Slug] = Field(default_factory=list)
    test: ClaimTest | None = None
    untestable: Text | None = None

    @model_validator(mode="after")
    def _test_or_reason(self) -> PaperClaim:
        if (self.test is None) == (self.untestable is None):
            raise ValueError(f"claim {self.id!r}: give either test or untestable")
        if isinstance(self.test, ScoreTest | AgreementTest | ChanceTest | CostTest) != bool(self.tables):
            raise ValueError(f"claim {self.id!r}: a test of scores needs tables, and so does one of costs, no other")
        return self
