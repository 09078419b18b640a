"""What the documentation names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "config").glob("*.md"))
)
_TOP = "benchmarks|config|docs|envs|profiles|report|resources|slurm|src|tests|workflow"
_PATH = re.compile(rf"`((?:{_TOP})/[\w./+-]*\w/?)`")  # no wildcards and no <placeholders>
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    lost = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    lost += [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert lost == []


def test_the_traps_name_what_holds_them():
    rows = [line for line in (ROOT / "docs/traps.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    held = [row.split("|")[-2] for row in rows if "held by" not in row]
    assert len(held) > 30
    assert [cell for cell in held if not _PATH.search(cell)] == []
