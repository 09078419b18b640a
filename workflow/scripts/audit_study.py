"""Audit what a study prints: its averages, blank and repeated cells, and what its own cells do not bear out."""

import argparse
from pathlib import Path

from vlrepro.errors import run_command
from vlrepro.files import write_text
from vlrepro.tables.audit import audit
from vlrepro.tables.audit_rendering import audit_to_html, audit_to_json, audit_to_markdown
from vlrepro.tables.study import load_study

RENDERERS = {".json": audit_to_json, ".md": audit_to_markdown, ".html": audit_to_html}


def main() -> None:
    """Parse the arguments, audit, render by the outputs' endings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--output", nargs="+", required=True)
    arguments = parser.parse_args()
    findings = audit(load_study(arguments.study))
    for output in arguments.output:
        write_text(output, RENDERERS[Path(output).suffix](findings))


run_command(main)
