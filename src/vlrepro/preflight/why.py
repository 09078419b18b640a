"""Why something would be made: what is missing, which keys of its recipe changed, which revision was raised."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError
from vlrepro.files import read_json
from vlrepro.plan.model import Plan, Recipe
from vlrepro.preflight.history import record_of
from vlrepro.preflight.work import SCRIPT_RULES, Work, work_of

_KINDS = {
    "train_stand_in": "checkpoints",
    "score_captions": "scores",
    "embed": "embeddings",
    "mine_pairs": "pairs",
    "parse_captions": "parses",
    "spot_text": "spotted",
    "distil_concepts": "concepts",
    "embed_prompts": "prompts",
    "rank_pictures": "rankings",
    "train_model": "runs",
    "import_model": "runs",
    "fetch_pack": "packs",
    "fetch_web_pack": "packs",
    "make_captions": "captions",
    "generate_captions": "captions",
    "refine_captions": "captions",
    "filter_captions": "captions",
}
_SCORED = (*SCRIPT_RULES.values(), "score_saliency")


def reasons(
    plan: Plan, root: Path, commands: Mapping[str, str], works: dict[str, Work] | None = None
) -> dict[str, list[str]]:
    """Key -> why it would be made; in the plan's order, without what is as it should be.

    `commands` are the shell commands of rules as they stand: Snakemake makes again what another command made. `works`
    are those of the plan (`work_of`), where the caller has them.
    """
    works = work_of(plan, root) if works is None else works
    found: dict[str, list[str]] = {}
    shared = _shared_rules(plan)
    commands = {rule: command for rule, command in commands.items() if rule not in shared}
    for key, work in works.items():
        if work.rule == "write_recipe":
            continue
        if why := list(_reasons(work, works, root, found, commands)):
            found[key] = why
    return found


def _reasons(
    work: Work, works: Mapping[str, Work], root: Path, found: Mapping[str, list[str]], commands: Mapping[str, str]
) -> Iterator[str]:
    if not work.made(root):
        yield from _changes(work, root) or [f"{work.output} is missing"]
    else:
        record = record_of(work.output, root)
        code = record.get("code")
        # What was made in a shared job counts as made: no rule makes it again (common.smk).
        if record.get("rule") == work.rule in commands and isinstance(code, str) and commands[work.rule] != code:
            yield f"the command of rule {work.rule} changed"
        if work.rule in ("collect_cells", "build_table"):
            made = (root / work.output).stat().st_mtime
            inputs = [works[need].output for need in work.needs]
            newer = [path for path in inputs if (root / path).exists() and (root / path).stat().st_mtime > made]
            if newer:
                yield f"{newer[0]} is newer{_more(newer)}"
    if again := [need for need in work.needs if need in found]:
        yield f"made of {again[0]}, which is made first{_more(again)}"


def _shared_rules(plan: Plan) -> set[str]:
    """Rules whose outputs count as made once they are there, because runs share jobs."""
    resources = plan.config.resources
    trained = {"train_model", "import_model"} if resources.runs_per_training > 1 else set()
    return trained | (set(SCRIPT_RULES.values()) if resources.runs_per_evaluation > 1 else set())


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _changes(work: Work, root: Path) -> list[str]:
    """What is other than in the newest recipe of the same name that was used before; nothing where there is none."""
    if work.rule in _SCORED:
        return []
    kind = _KINDS.get(work.rule)
    slug = work.name.rpartition("-")[0]
    folder = root / f"results/recipes/{kind}"
    old = [p for p in folder.glob(f"{slug}-*.json") if re.fullmatch(rf"{re.escape(slug)}-[0-9a-f]{{8}}", p.stem)]
    old = [path for path in old if path.stem != work.name]
    if not old:
        return []
    newest = max(old, key=lambda path: path.stat().st_mtime)
    try:
        recipe = read_json(newest)
    except ValueError:
        raise UserError(f"{newest}: is not JSON: delete it") from None
    return [f"{text} (was {newest.stem})" for text in differences(recipe, work.recipe)]


def differences(old: Recipe, new: Recipe) -> list[str]:
    """The keys, as a path with dots, in which two recipes differ; a raised revision is said as one."""
    before, after = dict(_flat(old)), dict(_flat(new))
    found = []
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key, "nothing"), after.get(key, "nothing")
        if was != now:
            revision = re.fullmatch(r"revisions\.(.+)|(.*)revision", key)
            what = f"revision of {revision[1] or revision[2].rstrip('_') or 'its maker'}" if revision else key
            found.append(f"{what}: {was} -> {now}")
    return found


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(path with dots, value) of every leaf; modules' names have dots of their own."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _flat(entry, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple) and value:
        for number, entry in enumerate(value):
            yield from _flat(entry, f"{place}.{number}")
    elif place:
        yield place, "empty" if isinstance(value, dict | list | tuple) else value
