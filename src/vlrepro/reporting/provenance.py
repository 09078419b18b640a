"""What was run, on what, with what, and what it cost."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean
from typing import Any

from vlrepro.reporting.inputs import CaptionFile, PackCount, TrainedRun
from vlrepro.reporting.markup import Html, bullets, element, grid, join

PACKAGES = (
    "vlrepro",
    "snakemake",
    "torch",
    "torchvision",
    "faiss-cpu",
    "sentence-transformers",
    "transformers",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "pillow",
    "matplotlib",
    "safetensors",
)
_MOST_ORIGINS = 12
_MOST_REJECTED = 5


def package_versions(names: Iterable[str] = PACKAGES) -> list[tuple[str, str]]:
    """(package, version) of Python and each package, as they are where the report is built."""
    return [("python", platform.python_version()), *((name, _version(name)) for name in names)]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def machine() -> list[tuple[str, str]]:
    """(what, value) of the machine that this runs on: processor, cores, memory, system."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{os.cpu_count()} cores, {gib:.0f} GiB"
    return [("Machine", f"{_processor()}, {cores}"), ("System", f"{platform.system()} {platform.machine()}")]


def _processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, with what decides which kernels run: the widest vectors it has."""
    if not info.is_file():  # macOS
        return platform.processor() or "processor not known"
    lines = dict(line.split(":", 1) for line in info.read_text(encoding="utf-8").splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in lines.items()}
    flags = set(facts.get("flags", "").split())
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{facts.get('model name', platform.machine())} ({vectors})"


def git_commit(folder: str | Path = ".") -> str | None:
    """The commit that `folder` has checked out, with "and changes" where files differ; None without git or commit."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit} and uncommitted changes" if _git(folder, "status", "--porcelain") else commit


def _git(folder: str | Path, *words: str) -> str:
    try:
        found = subprocess.run(("git", *words), cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def recipe_grid(
    runs: Sequence[TrainedRun],
    recipes: Mapping[str, Any],
    titles: Mapping[str, str],
    failures: Mapping[tuple[str, int], str],
) -> Html:
    """The runs that failed to train; then one line a recipe: what it is, and the ids of its runs.

    `recipes` are those of the configuration, `failures` reasons by (recipe, seed). What is the same in all recipes is
    said once, above the table.
    """
    names = list(dict.fromkeys(run.name for run in runs))
    found = {name: [run for run in runs if run.name == name] for name in names}
    facts = {name: _facts(found[name][0].recipe, recipes[name]) for name in names}
    some = {"Label noise": any(run.recipe["options"].get("label_noise") for run in runs)}
    some["Concepts"] = any(run.recipe.get("concepts") for run in runs)
    heads = [head for head in next(iter(facts.values()), {}) if some.get(head, True)]
    same = [head for head in heads if len({str(facts[name][head]) for name in names}) == 1]
    shown = [head for head in heads if head not in same]
    rows = [
        (
            element("code", name),
            titles.get(name, name),
            *(facts[name][head] for head in shown),
            join((_run(run, failures) for run in found[name]), " "),
        )
        for name in names
    ]
    shared = join((join([f"{head.lower()} ", facts[names[0]][head]]) for head in same), ", ")
    note = [element("p", "The same in all recipes: ", shared, ".")] if same else []
    table = element("div", grid(("Recipe", "Row", *shown, "Runs"), rows), class_="recipes")
    return join([*note, *_failed(runs, failures), table])


def _failed(runs: Sequence[TrainedRun], failures: Mapping[tuple[str, int], str]) -> list[Html]:
    """The runs that failed to train, each with why; nothing where none did."""
    found = [(run, failures[run.name, run.seed]) for run in runs if (run.name, run.seed) in failures]
    lines = [join([element("code", run.id), f": {why}"]) for run, why in found]
    words = f"{len(found)} of {len(runs)} runs failed to train; they have no score:"
    return [element("p", element("strong", words, class_="failed")), bullets(lines)] if found else []


def _run(run: TrainedRun, failures: Mapping[tuple[str, int], str]) -> Html:
    """A run's id without the recipe's name, and whether it failed to train."""
    code = element("code", f"…{run.id.removeprefix(run.name)}")
    failed = (run.name, run.seed) in failures
    return join([code, element("strong", " ✕ failed", class_="failed")]) if failed else code


def _facts(recipe: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Heading -> what a recipe says under it; `entry` is the recipe in the configuration.

    Of weights that are given nothing is said but that they are.
    """
    if "dual_encoder" in recipe:
        heads = ("Augmentation", "Pairs", "Captions read", "Concepts", "Label noise", "Backbone", "Batch", "Steps")
        return {"Framework": f"given ({recipe['dual_encoder']['kind']})"} | dict.fromkeys(heads, "–")
    return {
        "Framework": recipe["framework"],
        "Augmentation": _augmentation(entry["augmentation"]),
        "Pairs": _pairs(recipe),
        "Captions read": element("code", recipe["texts"]) if recipe["texts"] else "none",
        "Concepts": element("code", recipe["concepts"]) if recipe.get("concepts") else "none",
        "Label noise": _label_noise(recipe["options"].get("label_noise")),
        "Backbone": _backbone(recipe["backbone"]),
        "Batch": recipe["batch_size"],
        "Steps": f"{recipe['steps']:,}",
    }


def _augmentation(entry: str | Sequence[str]) -> str:
    """One for all views, or one a view."""
    return entry if isinstance(entry, str) else ", ".join(entry)


def _pairs(recipe: Mapping[str, Any]) -> Any:
    if not recipe["steps"]:
        return "none: not trained"
    return element("code", recipe["pairs"]) if recipe["pairs"] else "two views of one image"


def _label_noise(noise: Mapping[str, Any] | None) -> str:
    """Strategy and nominal rate, with the labels of texts where they are not those of pictures."""
    if not noise:
        return "none"
    columns = noise.get("columns", "shared")
    return f"{noise['strategy']}, rate {noise['rate']:g}{'' if columns == 'shared' else f', columns {columns}'}"


def _backbone(backbone: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name} {value}" for name, value in backbone.items() if name != "name")
    return f"{backbone['name']} ({options})" if options else backbone["name"]


def pack_grid(packs: Sequence[PackCount], uses: Mapping[str, str]) -> Html:
    """One line a pack: what it is for, where its pictures come from, how many were left out and why."""
    heads = ("Pack", "Used for", "Pictures", "Left out", "From")
    rows = [
        (
            element("code", pack.id),
            uses.get(pack.id, "–"),
            f"{pack.pictures:,}",
            _rejected(pack.rejected),
            _origins(pack.origins),
        )
        for pack in packs
    ]
    return grid(heads, rows)


def _rejected(rejected: Sequence[tuple[str, str]]) -> Any:
    if not rejected:
        return "0"
    more = [f"and {len(rejected) - _MOST_REJECTED} more"] if len(rejected) > _MOST_REJECTED else []
    return join([f"{len(rejected):,}", bullets([*(f"{key}: {why}" for key, why in rejected[:_MOST_REJECTED]), *more])])


def _origins(origins: Mapping[tuple[str, str], int]) -> Html:
    """Sources with their licences and counts; licences alone where the sources are too many to name."""
    named = {
        f"{source or 'source not stated'}, {licence or 'licence not stated'}": n
        for (source, licence), n in origins.items()
    }
    if len(named) > _MOST_ORIGINS:
        named = {}
        for (_, licence), count in origins.items():
            named[licence or "licence not stated"] = named.get(licence or "licence not stated", 0) + count
    return bullets(f"{name}: {count:,}" for name, count in named.items())


def caption_grid(captions: Sequence[CaptionFile], packs: Mapping[str, PackCount]) -> Html:
    """One line a caption source: its pack, how many captions are usable, how many pictures were left out."""
    heads = ("Captions", "Method", "Of pack", "Usable", "Left out")
    rows = []
    for source in captions:
        pack = source.recipe["pack"]
        left_out = packs[pack].pictures - source.rows["key"].nunique()
        rows.append(
            (element("code", source.id), source.recipe["method"], pack, f"{len(source.rows):,}", f"{left_out:,}")
        )
    return grid(heads, rows)


def cost_grid(runs: Sequence[TrainedRun], costs: Mapping[str, tuple[float, float | None]]) -> Html:
    """One line a recipe: seconds a run, seconds in all, peak memory; only runs whose cost was recorded count."""
    rows = []
    for name in dict.fromkeys(run.name for run in runs):
        ids = [run.id for run in runs if run.name == name]
        known = [costs[run] for run in ids if run in costs]
        seconds = [entry[0] for entry in known]
        peaks = [entry[1] for entry in known if entry[1] is not None]
        rows.append(
            (
                element("code", name),
                f"{len(known)} of {len(ids)}",
                f"{mean(seconds):,.0f}" if seconds else "not recorded",
                f"{sum(seconds):,.0f}" if seconds else "not recorded",
                f"{max(peaks):,.0f}" if peaks else "not recorded",
            )
        )
    return grid(("Recipe", "Runs recorded", "Seconds a run", "Seconds in all", "Peak memory, MB"), rows)
