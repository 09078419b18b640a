"""Answer what the configuration costs (budget), how far it is (status) or why it would be made again (why)."""

import argparse
import json
import sys
from pathlib import Path

from vlrepro.config import load_config
from vlrepro.errors import run_command
from vlrepro.plan import make_plan
from vlrepro.preflight.budget import Budget
from vlrepro.preflight.status import status
from vlrepro.preflight.text import budget_text, status_text, why_text
from vlrepro.preflight.why import reasons
from vlrepro.tables.study import load_study

TEXTS = {"budget": budget_text, "status": status_text, "why": why_text}


def main() -> None:
    """Parse the arguments, read {"config": ..., "commands": ...} from stdin, print the answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=TEXTS)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    arguments = parser.parse_args()
    given = json.load(sys.stdin)
    config = load_config(given["config"])
    plan = make_plan(config, {paper: load_study(f"config/papers/{paper}.yaml") for paper in config.papers})
    root = Path()
    if arguments.question == "status":
        report = status(plan, root)
    else:
        budget = Budget(plan, root)
        report = budget.report() if arguments.question == "budget" else explained(budget, root, given["commands"])
    print(json.dumps(report, indent=1) if arguments.json else TEXTS[arguments.question](report))


def explained(budget: Budget, root: Path, commands: dict[str, str]) -> dict[str, object]:
    """The reasons, each with what making it costs."""
    entries = []
    for key, why in reasons(budget.plan, root, commands).items():
        work, cost = budget.works[key], budget.cost([budget.works[key]])
        hours = {"gpu_hours": cost.gpu_hours, "core_hours": cost.core_hours}
        entries.append({"rule": work.rule, "name": work.name, "reasons": why} | hours)
    return {"scale": budget.plan.config.scale, "works": entries}


run_command(main)
