"""Builds `resources/pocket` bit for bit: pinned archives in, packs and their README out."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from vlrepro.data.sources.pocket_build.build import build, check_tools, write_readme
from vlrepro.errors import run_command

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Parse the arguments, build, and print one `name: digest` line a pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, default=Path("results/pocket_sources"), help="folder of the archives")
    parser.add_argument("--out", type=Path, default=HERE / "pocket", help="where the packs go")
    parser.add_argument("--jobs", type=int, default=2, help="processes that render")
    parser.add_argument("--any-tools", action="store_true", help="build with other versions of the tools: other bytes")
    arguments = parser.parse_args()
    if not arguments.any_tools:
        check_tools()
    with tempfile.TemporaryDirectory() as work:
        digests, counts = build(arguments.sources, Path(work), arguments.out, arguments.jobs)
    write_readme(arguments.out, counts)
    for name, digest in digests.items():
        print(f"{name}: {digest}")


if __name__ == "__main__":
    run_command(main)
