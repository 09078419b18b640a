"""What refinement did: which captions it kept, whether the pairs became purer, and who captioned and scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vlrepro.reporting.inputs import CaptionFile, MinedPairs, PackCount, ScoreFile, name_of
from vlrepro.reporting.markup import Html, bullets, element, grid, join
from vlrepro.tables.judging import newcombe
from vlrepro.tables.verdicts import points, signed_points

Costs = Mapping[str, tuple[float, float | None]]
_SAME = ("by", "scope", "k", "minimum_cosine", "search")


def refined_rows(refined: CaptionFile, captions: Mapping[str, CaptionFile]) -> pd.DataFrame:
    """A refined source's rows with `kind_of_original`, the kind of each picture's original caption ("" if none)."""
    original = captions[refined.recipe["sources"]["original"]].rows.set_index("key")["kind"]
    return refined.rows.assign(kind_of_original=refined.rows["key"].map(original).fillna(""))


def refinement_grid(rows: pd.DataFrame) -> Html:
    """One line a kind of original caption, and one for all: mean scores, and how often each source was kept."""
    heads = (
        "Original caption",
        "Pictures",
        "Mean score, original",
        "Mean score, generated",
        "Original kept",
        "Generated kept",
    )
    kinds = sorted(rows.groupby("kind_of_original"), key=lambda entry: (-len(entry[1]), entry[0]))
    lines = [_kept(kind.replace("_", " ") or "none", found) for kind, found in kinds]
    return grid(heads, [*lines, _kept("all", rows)] if len(lines) > 1 else lines)


def _kept(name: str, rows: pd.DataFrame) -> tuple[str, ...]:
    counts = {source: int((rows["chosen"] == source).sum()) for source in ("original", "generated")}
    shares = (f"{count:,} ({100 * count / len(rows):.1f} %)" for count in counts.values())
    means = (f"{rows[f'score_{source}'].mean():.3f}" for source in counts)
    return name, f"{len(rows):,}", *means, *shares


def purity_sentences(mined: Sequence[MinedPairs], captions: Mapping[str, CaptionFile]) -> list[str]:
    """For each pairs by refined captions: whether they are purer than those by original captions, and by how much."""
    sentences = []
    for refined, original in _both(mined, captions):
        for name, title in refined.criteria().items():
            a, b = refined.summary["purity"][name], original.summary["purity"][name]
            difference = newcombe(a, b)
            word = "purer than" if difference.low > 0 else "less pure than"
            if difference.low <= 0 <= difference.high:
                word = "not clearly more or less pure than"
            sentences.append(
                f"Pairs {refined.name} are {word} pairs {original.name} by {title}: {100 * a['share']:.1f} % against "
                f"{100 * b['share']:.1f} %, difference {points(difference)}."
            )
    return sentences


def purity_ledgers(mined: Sequence[MinedPairs], captions: Mapping[str, CaptionFile]) -> Iterator[Html]:
    """For each pairs by refined captions, how to read the ledger and the ledger."""
    for refined, original in _both(mined, captions):
        note = (
            f"Where pairs {refined.name} are purer or less pure than pairs {original.name}: the share of pairs that "
            "agree before and after, and what the line adds to the difference in points. A captioner that is right "
            "and a scorer that knows it lose nothing where a faithful caption was kept or could have been, and win "
            "where another was replaced. A caption that names the wrong thing also spoils the pairs of the pictures "
            "that it names, so lines whose captions were kept change too."
        )
        rows = refined_rows(captions[refined.recipe["captions"]], captions)
        yield from (element("p", note), purity_ledger(refined, original, rows))


def purity_ledger(refined: MinedPairs, original: MinedPairs, rows: pd.DataFrame) -> Html:
    """Where purity was won and lost: one line for each kind of original caption and the caption that was kept.

    `rows` are those of `refined_rows`. Shares of pairs that agree are before and after refinement, over the pictures of
    the line; points are what the line adds to the difference of all, so the points of a criterion sum to it.
    """
    criteria = refined.criteria()
    before, after = (_agreement(pairs, criteria) for pairs in (original, refined))
    known = rows.set_index("key")[["kind_of_original", "chosen"]]
    both = known.join(before.add_suffix("_before"), how="inner").join(after.add_suffix("_after"), how="inner")
    heads = ["Original caption", "Kept", "Pictures"]
    for title in criteria.values():
        heads += [f"{title[0].upper()}{title[1:]}, %", "Points"]
    groups = sorted(both.groupby(["kind_of_original", "chosen"]), key=lambda entry: (-len(entry[1]), entry[0]))
    lines = [(kind.replace("_", " ") or "none", kept, found) for (kind, kept), found in groups]
    return grid(heads, [_ledger_line(*line, criteria, len(both)) for line in [*lines, ("all", "", both)]])


def _ledger_line(kind: str, kept: str, found: pd.DataFrame, criteria: Mapping[str, str], total: int) -> tuple[str, ...]:
    cells = [kind, kept, f"{len(found):,}"]
    for name in criteria:
        before, after = found[f"{name}_before"], found[f"{name}_after"]
        cells.append(f"{100 * before.mean():.1f} → {100 * after.mean():.1f}")
        cells.append(signed_points((after.sum() - before.sum()) / total))
    return tuple(cells)


def _agreement(pairs: MinedPairs, criteria: Mapping[str, str]) -> pd.DataFrame:
    """Source -> whether its pair agrees, 0 or 1, a column a criterion."""
    rows = pairs.rows.set_index("source")
    return pd.DataFrame({n: (rows[f"{n}_of_source"] == rows[f"{n}_of_neighbour"]).astype(int) for n in criteria})


def _both(mined: Sequence[MinedPairs], captions: Mapping[str, CaptionFile]) -> Iterator[tuple[MinedPairs, MinedPairs]]:
    """Pairs by refined and by original captions that were mined in the same way."""
    for refined in mined:
        source = captions.get(refined.recipe["captions"] or "")
        if source is None or source.recipe["method"] != "refined" or not refined.summary["pairs"]:
            continue
        for other in mined:
            same = all(other.recipe[key] == refined.recipe[key] for key in _SAME)
            if other.recipe["captions"] == source.recipe["sources"]["original"] and same and other.summary["pairs"]:
                yield refined, other


def model_bullets(
    captions: Mapping[str, CaptionFile],
    scores: Sequence[ScoreFile],
    checkpoints: Mapping[str, Mapping[str, Any]],
    packs: Mapping[str, PackCount],
    costs: Costs,
) -> Html:
    """Who wrote the generated captions and who scored: a stand-in with its training, or a published checkpoint."""
    asked = [("captioner", s.recipe, s.id, "captions") for s in captions.values() if s.recipe["method"] == "generated"]
    asked += [("scorer", entry.recipe, entry.id, "scores") for entry in scores]
    models = list(dict.fromkeys((role, recipe["model"]) for role, recipe, _, _ in asked))
    lines = []
    for role, model in models:
        made = [(recipe, made, what) for r, recipe, made, what in asked if (r, recipe["model"]) == (role, model)]
        work = ", ".join(f"{what} {name_of(name)} in {_seconds(costs, name)}" for _, name, what in made)
        if made[0][0]["stand_in"]:
            pack = checkpoints[model]["pack"]
            count = f"{packs[pack].pictures:,} pictures" if pack in packs else "pictures"
            words = f", a stand-in trained here on {count} of {name_of(pack)} in {_seconds(costs, model)}"
        else:
            words = ", a published checkpoint"
        lines.append(join([element("strong", role), " ", element("code", model), f"{words}; it made {work}."]))
    return bullets(lines)


def _seconds(costs: Costs, name: str) -> str:
    return f"{costs[name][0]:,.0f} s" if name in costs else "a time that was not recorded"


def summary_grid(captions: Mapping[str, CaptionFile]) -> Html:
    """What the makers of generated and refined captions counted, a line a source."""
    found = [source for source in captions.values() if source.summary is not None]
    rows = [(element("code", source.id), bullets(_entries(source.summary or {}))) for source in found]
    return grid(("Captions", "Counts"), rows)


def _entries(summary: Mapping[str, Any]) -> Iterator[str]:
    for name, value in summary.items():
        words = name.replace("_", " ")
        if isinstance(value, Mapping):
            parts = ", ".join(f"{key.replace('_', ' ')} {_number(entry)}" for key, entry in value.items())
            yield f"{words}: {parts or 'none'}"
        else:
            yield f"{words}: {_number(value)}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
