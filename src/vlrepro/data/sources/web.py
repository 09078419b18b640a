"""A pack made from a list of URLs: Conceptual Captions, RedCaps.

What came of every URL is in `ledger.parquet` and `ledger.summary.json` beside the pack. A picture's key is its row in
the list; the pack's bytes depend on the list, the rules and what the servers sent, not on when each answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from vlrepro.data.download.journal import Journal
from vlrepro.data.download.ledger import LEDGER, SUMMARY, key_of, write_ledger, write_summary
from vlrepro.data.download.lists import check_whole, list_files, read_list
from vlrepro.data.download.options import Pace, Rules
from vlrepro.data.download.outcomes import OK
from vlrepro.data.download.pictures import REVISION
from vlrepro.data.download.run import download
from vlrepro.data.pack import Picture, write_pack
from vlrepro.errors import UserError
from vlrepro.files import digest_of, file_digest


def fetch(
    path: str | Path, folder: str | Path, rules: Mapping[str, Any], state: str | Path, pace: Mapping[str, Any]
) -> None:
    """Download the list at `path` into the pack `folder`, going on from what is in `state`.

    Raises `UserError` where the list is malformed or not all of a published one, `state` is of another download, the
    network is down or not one picture came.
    """
    folder = Path(folder)
    told = Rules(**rules)
    entries = sum(1 for _ in read_list(path, told.format, told.year))  # all is read before anything is asked for
    check_whole(path, entries, told.year)
    with Journal(state, _identity(path, told)) as journal:
        download((entry.url for entry in read_list(path, told.format, told.year)), journal, told, Pace(**pace))
        if len(journal.outcomes) != entries:
            raise UserError(f"{path}: the list changed during the download: delete {state} and begin again")
        for stale in folder.glob("shard-*.tar"):
            stale.unlink()
        write_pack(folder, _pictures(path, told, journal))
        write_ledger(folder / LEDGER, read_list(path, told.format, told.year), journal.outcomes)
        write_summary(folder / SUMMARY, journal.outcomes, told.format)
        counts = Counter(outcome.reason for outcome in journal.outcomes.values())
        if not counts[OK]:
            words = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common(3))
            raise UserError(f"{path}: none of {entries:,} URLs brought a picture ({words}): mend the list or its `web`")


def _identity(path: str | Path, rules: Rules) -> str:
    return digest_of([[file_digest(file) for file in list_files(path, rules.year)], rules.identity(), REVISION])


def _pictures(path: str | Path, rules: Rules, journal: Journal) -> Iterator[Picture]:
    for row, entry in enumerate(islice(read_list(path, rules.format, rules.year), len(journal.outcomes))):
        outcome = journal.outcomes[row]
        if outcome.reason == OK:
            yield Picture(
                *(key_of(row), journal.picture(outcome), ".jpg", outcome.packed_width, outcome.packed_height),
                **{"caption": entry.caption, "group": entry.group, "author": entry.author, "date": entry.date},
                source=entry.url,
            )
