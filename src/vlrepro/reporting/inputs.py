"""What the report reads: runs and their histories, captions and their scores, pairs, and what was left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from vlrepro.errors import UserError
from vlrepro.files import read_json
from vlrepro.tables.cells import Cells
from vlrepro.tables.study import Study

CRITERIA = {"concept": "same concept", "label": "same class", "group": "same group"}
"""What two pictures of a pair can share, from the strictest to the loosest, and how the report says it."""
_KNOWN = ["caption", "kind", "clean", "group", "concept", "label"]


@dataclass(frozen=True)
class TrainedRun:
    """A run: its id, the recipe's name in the configuration, its seed, and the recipe itself."""

    id: str
    name: str
    seed: int
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class CaptionFile:
    """A caption source; `rows` has at least the columns key, caption, kind, clean, group, concept, label.

    `summary` is what its maker counted; only generated, refined and filtered sources have one.
    """

    id: str
    recipe: Mapping[str, Any]
    rows: pd.DataFrame
    summary: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return name_of(self.id)

    def shares(self) -> dict[str, float]:
        """Kind -> its share of the captions, from the most frequent to the least."""
        counts = self.rows["kind"].value_counts(normalize=True)
        return {kind: float(counts[kind]) for kind in sorted(counts.index, key=lambda kind: (-counts[kind], kind))}


@dataclass(frozen=True)
class ScoreFile:
    """How well each caption of a source fits its picture; `rows` has the columns key and score, a cosine."""

    id: str
    recipe: Mapping[str, Any]
    rows: pd.DataFrame


@dataclass(frozen=True)
class MinedPairs:
    """Pairs; `rows` has source, neighbour, cosine, and what is known of both pictures as `caption_of_source`, ...

    Pairs that were not mined from captions have empty captions and kinds; drawn ones have no cosine.
    """

    id: str
    recipe: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return name_of(self.id)

    def criteria(self) -> dict[str, str]:
        """Criterion -> words for it, for those that tell pairs apart.

        Where all pictures have one name or each has its own, purity says nothing. Where classes are the groups, they
        are one criterion.
        """
        random, found = self.summary["random_purity"], {}
        for name, title in CRITERIA.items():
            if 0 < random[name] < 1:
                found[name] = title
        if (
            "label" in found
            and "group" in found
            and (self.rows["label_of_source"] == self.rows["group_of_source"]).all()
        ):
            found["label"] = "same class (the group)"
            del found["group"]
        return found


@dataclass(frozen=True)
class ConceptSummary:
    """What was counted of the concepts that a teacher sees in a pack (`vlrepro.captions.concepts.distil`)."""

    id: str
    recipe: Mapping[str, Any]
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class PackCount:
    """How many pictures of a pack are usable, from which (source, licence), and (key, reason) of the others."""

    id: str
    pictures: int
    origins: Mapping[tuple[str, str], int]
    rejected: Sequence[tuple[str, str]]


def read_runs(paths: Iterable[str | Path]) -> list[TrainedRun]:
    """Runs from their recipe files `<name>-seed<seed>-<digest>.json`, in the order given."""
    runs = []
    for path in paths:
        recipe = read_json(path)
        runs.append(TrainedRun(Path(path).stem, Path(path).stem.rsplit("-seed", 1)[0], recipe["seed"], recipe))
    return runs


def read_history(path: str | Path) -> pd.DataFrame:
    """One row a step, indexed by step; no rows for a run that takes no steps.

    The last row of a training that failed has nothing but why, in the column `failed` (see `failure_of`).
    Raises `UserError` that names the file where a line is not JSON.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    try:
        entries = [json.loads(line) for line in lines]
        return pd.DataFrame(entries).set_index("step") if entries else pd.DataFrame()
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: not a training history ({error}): delete its folder and train again") from error


def failure_of(history: pd.DataFrame) -> str | None:
    """Why a training stopped before its end ("the loss is nan at step 12"), or None if it did not."""
    return str(history["failed"].iloc[-1]) if "failed" in history else None


def read_failures(cells: Cells) -> dict[tuple[str, int], str]:
    """(recipe, seed) -> why its training stopped before its end, from the cells that have no score for that."""
    return {
        (recipe, seed): why
        for found in cells.failed.values()
        for (recipe, _), seeds in found.items()
        for seed, why in seeds.items()
    }


def read_chance(paths: Iterable[str | Path]) -> dict[tuple[str, str], float]:
    """(evaluation, set) -> the share correct when guessing, from files of cells."""
    columns = ["evaluation", "set", "chance"]
    rows = [row for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]
    return {(row["evaluation"], row["set"]): row["chance"] for row in rows}


def read_captions(paths: Iterable[Path], recipes: Iterable[Path], summaries: Iterable[Path]) -> dict[str, CaptionFile]:
    """Caption files by id, each with the recipe that it was made by and, where there is one, its summary."""
    counted = {path.name.removesuffix(".summary.json"): read_json(path) for path in summaries}
    return {
        path.stem: CaptionFile(path.stem, read_json(recipe), pq.read_table(path).to_pandas(), counted.get(path.stem))
        for path, recipe in zip(paths, recipes, strict=True)
    }


def read_scores(paths: Iterable[Path], recipes: Iterable[Path]) -> list[ScoreFile]:
    """Scores of captions, in the order given."""
    files = zip(paths, recipes, strict=True)
    return [ScoreFile(path.stem, read_json(recipe), pq.read_table(path).to_pandas()) for path, recipe in files]


def read_concept_summaries(paths: Iterable[Path], recipes: Iterable[Path]) -> list[ConceptSummary]:
    """Summaries `<concepts>.summary.json`, in the order given."""
    files = zip(paths, recipes, strict=True)
    return [ConceptSummary(recipe.stem, read_json(recipe), read_json(path)) for path, recipe in files]


def read_packs(indexes: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Pack id -> what its index says of each picture, in the columns of a caption file without captions."""
    columns = ["key", "caption", "group", "concept", "label"]
    found = {path.parent.name: pq.read_table(path, columns=columns).to_pandas() for path in indexes}
    return {name: rows.rename(columns={"caption": "clean"}).assign(caption="", kind="") for name, rows in found.items()}


def read_pairs(
    path: Path, summary: Path, recipe: Path, captions: Mapping[str, CaptionFile], packs: Mapping[str, pd.DataFrame]
) -> MinedPairs:
    """The nearest pair of each picture with what is known of both; `captions` and `packs` are keyed by id.

    Raises `UserError` where a pair names a picture that its captions, or its pack, do not have.
    """
    made_by = read_json(recipe)
    place = made_by["captions"] or made_by["pack"]
    known = (captions[place].rows if made_by["captions"] else packs[place]).set_index("key")[_KNOWN]
    rows = pq.read_table(path).to_pandas()
    rows = rows[rows["rank"] == 0]
    for end in ("source", "neighbour"):
        strangers = set(rows[end]) - set(known.index)
        if strangers:
            raise UserError(f"{path}: {min(strangers)!r} is not in {place}: mine the pairs again")
        rows = rows.join(known.add_suffix(f"_of_{end}"), on=end)
    return MinedPairs(path.stem, made_by, read_json(summary), rows)


def count_pack(index: str | Path, rejected: str | Path) -> PackCount:
    """Count a pack from its index and its list of unusable pictures; a source is named without the single file."""
    rows = pq.read_table(index, columns=["source", "licence"]).to_pandas()
    packages = rows["source"].str.rsplit(":", n=1).str[0]
    counts = rows.groupby([packages, rows["licence"]], sort=True).size()
    with open(rejected, encoding="utf-8", newline="") as stream:
        left_out = [(row["key"], row["reason"]) for row in csv.DictReader(stream)]
    return PackCount(Path(index).parent.name, len(rows), {name: int(n) for name, n in counts.items()}, left_out)


def read_benchmarks(folder: Path, names: Iterable[str]) -> dict[str, tuple[float, float | None]]:
    """Name -> (seconds, peak memory in MB), from Snakemake's files `<folder>/<name>.tsv`; absent ones are left out."""
    found = {}
    for name in names:
        path = folder / f"{name}.tsv"
        if path.is_file():
            with open(path, encoding="utf-8", newline="") as stream:
                row = next(csv.DictReader(stream, delimiter="\t"), None)
            if row:
                found[name] = (float(row["s"]), _number(row.get("max_rss")))
    return found


def name_of(artefact: str) -> str:
    """An artefact's name in the configuration: its id without the digest."""
    return artefact.rsplit("-", 1)[0]


def recipe_titles(studies: Iterable[Study]) -> dict[str, str]:
    """Recipe name -> the label of the first table row that it fills, with the variant that it is of."""
    titles: dict[str, str] = {}
    for table in (table for study in studies for table in study.tables):
        for row in table.rows:
            if row.set:
                titles = table.scored_on(row) | titles
            elif row.recipe:
                titles.setdefault(row.recipe, row.full_label())
            for variant, recipe in row.recipes.items():
                if recipe:
                    titles.setdefault(recipe, f"{row.full_label()}, {table.variants[variant]}")
    return titles


def recipes_of(study: Study) -> set[str]:
    """The names of the recipes that fill a study's tables."""
    return {recipe for table in study.tables for row in table.rows for recipe in row.all_recipes()}


def _number(text: str | None) -> float | None:
    """A benchmark's entry; jobs that end at once have "-" or "NA" instead of a number."""
    try:
        return float(text or "")
    except ValueError:
        return None
