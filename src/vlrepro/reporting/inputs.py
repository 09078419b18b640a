"""What the report reads: runs and their histories, captions, mined pairs, and what was left out."""

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
from vlrepro.tables.study import Study

CRITERIA = {"concept": "same concept", "label": "same class", "group": "same group"}
"""What two pictures of a pair can share, from the strictest to the loosest, and how the report says it."""


@dataclass(frozen=True)
class TrainedRun:
    """A run: its id, the recipe's name in the configuration, its seed, and the recipe itself."""

    id: str
    name: str
    seed: int
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class CaptionFile:
    """A caption source; `rows` has the columns key, caption, kind, clean, group, concept, label."""

    id: str
    recipe: Mapping[str, Any]
    rows: pd.DataFrame

    def shares(self) -> dict[str, float]:
        """Kind -> its share of the captions, from the most frequent to the least."""
        counts = self.rows["kind"].value_counts(normalize=True)
        return {kind: float(counts[kind]) for kind in sorted(counts.index, key=lambda kind: (-counts[kind], kind))}


@dataclass(frozen=True)
class MinedPairs:
    """Mined pairs; `rows` has source, neighbour, cosine, and both pictures' captions as `caption_of_source`, ..."""

    id: str
    recipe: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: pd.DataFrame

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

    Raises `UserError` that names the file where a line is not JSON.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    try:
        entries = [json.loads(line) for line in lines]
        return pd.DataFrame(entries).set_index("step") if entries else pd.DataFrame()
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: not a training history ({error}): delete its folder and train again") from error


def read_captions(path: str | Path, recipe: str | Path) -> CaptionFile:
    """A caption file and the recipe that it was made by."""
    return CaptionFile(Path(path).stem, read_json(recipe), pq.read_table(path).to_pandas())


def read_pairs(
    path: str | Path, summary: str | Path, recipe: str | Path, captions: Mapping[str, CaptionFile]
) -> MinedPairs:
    """Mined pairs joined with the captions that they were mined from; `captions` is keyed by id.

    Raises `UserError` where a pair names a picture that its captions do not have.
    """
    made_by = read_json(recipe)
    known = captions[made_by["captions"]].rows.set_index("key")
    rows = pq.read_table(path).to_pandas()
    for end in ("source", "neighbour"):
        strangers = set(rows[end]) - set(known.index)
        if strangers:
            raise UserError(f"{path}: {min(strangers)!r} has no caption in {made_by['captions']}: mine the pairs again")
        rows = rows.join(known.add_suffix(f"_of_{end}"), on=end)
    return MinedPairs(Path(path).stem, made_by, read_json(summary), rows)


def count_pack(index: str | Path, rejected: str | Path) -> PackCount:
    """Count a pack from its index and its list of unusable pictures; a source is named without the single file."""
    rows = pq.read_table(index, columns=["source", "licence"]).to_pandas()
    packages = rows["source"].str.rsplit(":", n=1).str[0]
    counts = rows.groupby([packages, rows["licence"]], sort=True).size()
    with open(rejected, encoding="utf-8", newline="") as stream:
        left_out = [(row["key"], row["reason"]) for row in csv.DictReader(stream)]
    return PackCount(Path(index).parent.name, len(rows), {name: int(n) for name, n in counts.items()}, left_out)


def read_benchmarks(folder: str | Path, runs: Iterable[TrainedRun]) -> dict[str, tuple[float, float | None]]:
    """Run id -> (seconds, peak memory in MB), from Snakemake's benchmark files; a run without one is left out."""
    found = {}
    for run in runs:
        path = Path(folder) / f"{run.id}.tsv"
        if path.is_file():
            with open(path, encoding="utf-8", newline="") as stream:
                row = next(csv.DictReader(stream, delimiter="\t"), None)
            if row:
                found[run.id] = (float(row["s"]), _number(row.get("max_rss")))
    return found


def recipe_titles(studies: Iterable[Study]) -> dict[str, str]:
    """Recipe name -> the label of the first table row that it fills."""
    rows = [row for study in studies for table in study.tables for row in table.rows if row.recipe]
    return {row.recipe: row.label for row in reversed(rows) if row.recipe}


def _number(text: str | None) -> float | None:
    """A benchmark's entry; jobs that end at once have "-" or "NA" instead of a number."""
    try:
        return float(text or "")
    except ValueError:
        return None
