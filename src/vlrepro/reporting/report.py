"""What the report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlrepro.reporting.answers import Answers
from vlrepro.reporting.gallery import Show
from vlrepro.reporting.inputs import (
    CaptionFile,
    ConceptSummary,
    MinedPairs,
    PackCount,
    ScoreFile,
    TrainedRun,
    recipes_of,
)
from vlrepro.reporting.refinement import Costs
from vlrepro.reporting.summary import Claim
from vlrepro.tables.study import Study


@dataclass(frozen=True)
class Report:
    """Everything that the page is made of.

    `config` is the resolved configuration; `answers` is what `vlrepro.reporting.answers.compare` found, `claims`,
    `claim_pages` and `audits`, all keyed by study; `tables` and `galleries` (saliency maps, queries) by (study, table
    name); the latter four hold HTML that is escaped already. `figures` maps a figure's name to its texts and file,
    `captions` ids to sources, `shows` a pack's id to a function that shows its pictures, `costs` an artefact's id to
    seconds and peak MB, `failures` (recipe, seed) to why it failed to train.
    """

    config: Mapping[str, Any]
    studies: Sequence[Study]
    answers: Mapping[str, Answers]
    claims: Mapping[str, Sequence[Claim]]
    claim_pages: Mapping[str, str]
    audits: Mapping[str, str]
    tables: Mapping[tuple[str, str], str]
    galleries: Mapping[tuple[str, str], str]
    figures: Mapping[str, tuple[Mapping[str, str], Path]]
    runs: Sequence[TrainedRun]
    failures: Mapping[tuple[str, int], str]
    captions: Mapping[str, CaptionFile]
    scores: Sequence[ScoreFile]
    checkpoints: Mapping[str, Mapping[str, Any]]
    mined: Sequence[MinedPairs]
    packs: Sequence[PackCount]
    shows: Mapping[str, Show]
    costs: Costs
    versions: Sequence[tuple[str, str]]
    commit: str | None
    command: str
    concepts: Sequence[ConceptSummary] = ()

    @property
    def scale(self) -> str:
        """The scale that was run."""
        return str(self.config["scale"])

    def named(self, study: Study, printed: bool) -> list[tuple[str, str]]:
        """(name, heading) of a study's tables that the paper prints, or of the others."""
        found = [study.table(name) for slug, name in self.tables if slug == study.slug]
        return [(table.name, table.heading()) for table in found if table.printed == printed]

    def runs_of(self, study: Study) -> list[TrainedRun]:
        """The runs that fill a study's tables."""
        recipes = recipes_of(study)
        return [run for run in self.runs if run.name in recipes]

    def evaluated(self) -> list[str]:
        """The sets that features are scored on, those of zero-shot tables, then those of saliency maps."""
        evaluation = self.config["evaluation"]
        tables = [study.table(name) for study in self.studies for slug, name in self.tables if slug == study.slug]
        asked = {name for table in tables for name in table.evaluations}
        named = [entry for name, entry in evaluation.get("protocols", {}).items() if entry and name in asked]
        masked = [entry["set"] for entry in evaluation.get("saliency", {}).values() if entry]
        named_sets = [key for entry in named for key in entry.get("sets") or ()]
        return list(dict.fromkeys([*evaluation["sets"], *named_sets, *masked]))


def short_title(study: Study) -> str:
    """A study's title up to its colon."""
    return study.title.split(":", 1)[0]
