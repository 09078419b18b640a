"""The pocket pack's README, written from the packs themselves so that its numbers cannot drift."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vlrepro.data.pack import MANIFEST, Pack, read_manifest
from vlrepro.data.sources.pocket_build.designs import EVALUATION, PRETRAIN
from vlrepro.files import file_digest

HEADER = "| pack | pictures | designs | classes | smallest | largest | train / val / test | bytes | digest |"
RULE = "|---|--:|---|--:|--:|--:|---|--:|---|"
_DESIGN_OF = {design.package: design.name for design in (*PRETRAIN, *EVALUATION)}

TEXT = """# The pocket pack

Real drawings that ship with the project, so that every step of the three studies runs without a download. Open
emoji designs draw the same concepts with different looks, and people wrote their captions (CLDR names and keywords).
Licences and credits: [LICENSES.md](LICENSES.md). This file is written by `resources/build_pocket.py`.

## Packs

{table}

- `pretrain` is what vision models are trained on. `reference` is what the stand-in captioner and the stand-in CLIP
  learn from; pre-training never sees it. `heldout` has unseen pictures of seen concepts in seen designs: what
  ImageNet's validation set is to a model trained on photographs.
- Evaluation packs: unseen designs in colour (`openmoji`, `fluent_flat`), in high contrast (`fluent_contrast`) and as
  black lines (`openmoji_line`), with emojibase subgroups as classes; `faces` (fine-grained expressions, from three of
  these designs, which therefore lack them), `roles` (people by occupation; fine-grained), `openclipart` (folders of
  an older collection by many hands) and `digits` (handwriting).
- No picture of the evaluation families (openmoji, fluent) is in `pretrain`, `reference` or `heldout`. No picture is in
  two packs, by encoded bytes, by visible pixels and by source.
- Every concept of `reference` and `heldout` is in `pretrain` at least twice, in other designs. Near copies of one
  drawing (the same act by a man and by a woman, drawn almost alike) stay in one partition.

## Rows

- Pictures are {size} x {size} RGBA WebP, aspect kept, centred. Their alpha ({levels} levels, stored without loss)
  is the mask; rows of opaque pictures have `mask_offset` -2. One-colour designs are stored without loss, the others
  with colour quality {quality}.
- `caption` is the English CLDR name, `captions_other` the names in German, Spanish, French and Japanese, `keywords`
  the CLDR keywords. `openclipart` and `digits` have no captions.
- `label` is the class: the emojibase subgroup, the role, the folder or the digit. In the three training packs it serves
  measurements, oracle pairs and the supervised control; nothing else trains on it.
- `concept` is the same word in every design.
- **`author` and `date` are synthetic.** Sixty invented authors (activity falling as 1 / rank, one to four home groups
  each) and days of 2018 to 2020 are drawn by lot per picture, to give pairs the metadata that Reddit posts have.
  No real person is meant. `group` (the emojibase subgroup) plays the subreddit.
- Evaluation splits are drawn class by class: about 56 / 14 / 30 % train / val / test. Pictures that differ only in who
  is drawn ("man cook", "woman cook"), a role's skin tones of one drawing, one expression in several designs and
  numbered series of clip art stay in one split. Classes have at least {min_test} test and {min_train} train pictures;
  smaller ones are left out.

## What the build left out

{counts}

## Rebuild

    python resources/build_pocket.py --sources DIR

fetches the archives that DIR lacks (`npm pack`, `apt-get download`), checks their SHA-256, and writes the same bytes
as are here. It needs these versions, because another image library writes other bytes:
{tools}.
"""


def pack_row(folder: Path) -> str:
    """One row of the table: what a pack's index and manifest say."""
    rows = Pack(folder).rows
    classes = Counter(row.label for row in rows)
    splits = Counter(row.split for row in rows)
    shares = " / ".join(str(splits[name]) for name in ("train", "val", "test")) if "test" in splits else "-"
    size = sum((folder / name).stat().st_size for name in (*read_manifest(folder), MANIFEST))
    designs = sorted({design_of(row.source) for row in rows})
    cells = (f"`{folder.name}`", len(rows), ", ".join(designs), len(classes), min(classes.values()))
    digest = f"`{file_digest(folder / MANIFEST)[:12]}`"
    return "| " + " | ".join(map(str, (*cells, max(classes.values()), shares, f"{size:,}", digest))) + " |"


def design_of(source: str) -> str:
    """The design (or collection) that a row's `source` names."""
    package = source.rpartition(":")[0].split(":")[0].rpartition("@")[0]
    return _DESIGN_OF.get(package, package)


def pack_table(folder: Path) -> str:
    """The Markdown table of every pack below `folder`, with their sum."""
    names = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    rows = [pack_row(name) for name in names]
    pictures = sum(len(Pack(name)) for name in names)
    total = sum(path.stat().st_size for name in names for path in name.iterdir())
    return "\n".join([HEADER, RULE, *rows, f"| sum | {pictures:,} | | | | | | {total:,} | |"])


def readme(folder: Path, counts: Counter[str], tools: dict[str, str], **numbers: int) -> str:
    """The README of the packs below `folder`; `numbers` fill the constants that the text names."""
    lines = [f"- {number:,} {what}" for what, number in sorted(counts.items()) if number]
    pinned = ", ".join(f"{name} {version}" for name, version in tools.items())
    return TEXT.format(table=pack_table(folder), counts="\n".join(lines), tools=pinned, **numbers)
