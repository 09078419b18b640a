"""The answers to `snakemake budget`, `status` and `why`, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlrepro.plan.model import Plan
from vlrepro.preflight.budget import Budget
from vlrepro.preflight.status import status
from vlrepro.preflight.text import budget_text, status_text, why_text
from vlrepro.preflight.why import reasons

_TEXTS = {"budget": budget_text, "status": status_text, "why": why_text}


def answer(question: str, plan: Plan, root: Path, commands: Mapping[str, str]) -> str:
    """What the plan costs (`budget`), how far it is (`status`) or why it would be made again (`why`).

    A question that ends with `_json` is answered in JSON. `root` is where Snakemake runs, `commands` are the shell
    commands of rules as they stand. Raises `UserError` where a file that the answer rests on does not read.
    """
    subject = question.removesuffix("_json")
    report = _report(subject, plan, root, commands)
    return _TEXTS[subject](report) if subject == question else json.dumps(report, indent=1)


def _report(subject: str, plan: Plan, root: Path, commands: Mapping[str, str]) -> dict[str, Any]:
    if subject == "status":
        return status(plan, root)
    budget = Budget(plan, root)
    return budget.report() if subject == "budget" else _explained(budget, root, commands)


def _explained(budget: Budget, root: Path, commands: Mapping[str, str]) -> dict[str, Any]:
    """The reasons, each with what making it costs."""
    entries = []
    for key, why in reasons(budget.plan, root, commands, budget.works).items():
        work, cost = budget.works[key], budget.cost([budget.works[key]])
        hours = {"gpu_hours": cost.gpu_hours, "core_hours": cost.core_hours}
        entries.append({"rule": work.rule, "name": work.name, "reasons": why} | hours)
    return {"scale": budget.plan.config.scale, "works": entries}
