"""What an interrupted download has done so far: a line a row, and the pictures' bytes, in two growing files.

    journal.jsonl    first line: what is being downloaded; then one `Outcome` a line, as a list of its fields
    pictures.bin     the packed pictures, one after the other

Pictures are on disk before the lines that point at them, lines are written in batches and forced to disk, a line that
was cut short is dropped when the journal is opened again: a killed download repeats the last batch and nothing else.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import astuple, fields, replace
from pathlib import Path
from types import TracebackType

from vlrepro.data.download.outcomes import Outcome
from vlrepro.errors import UserError

_WIDTH = len(fields(Outcome))


class Journal:
    """The journal in `folder` of the download that `identity` names; a context manager.

    `rows`: how many outcomes are written at once at most, `seconds`: how old one may grow unwritten.
    Raises `UserError` where the folder holds the journal of another download or one that is damaged.
    """

    def __init__(self, folder: str | Path, identity: str, rows: int = 256, seconds: float = 5.0) -> None:
        self._folder = Path(folder)
        self._rows = rows
        self._seconds = seconds
        self._waiting: list[Outcome] = []
        self._written_at = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        self.outcomes, whole = self._read(identity)
        self._lines = (self._folder / "journal.jsonl").open("ab")
        self._lines.truncate(whole)
        self._pictures = (self._folder / "pictures.bin").open("ab+")
        self._end = max((one.offset + one.length for one in self.outcomes.values()), default=0)
        if self._pictures.seek(0, os.SEEK_END) < self._end:
            raise UserError(f"{self._folder}: pictures.bin is shorter than the journal says: delete the folder")
        self._pictures.truncate(self._end)
        if not whole:
            self._lines.write(json.dumps({"download": identity}).encode() + b"\n")
            self._force(self._lines)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.write()
        finally:
            self._lines.close()
            self._pictures.close()

    def add(self, outcome: Outcome, picture: bytes = b"") -> None:
        """Record what became of a row, and the picture to be packed where there is one."""
        if outcome.row in self.outcomes:
            raise AssertionError(f"row {outcome.row} ended twice")
        if picture:
            outcome = replace(outcome, offset=self._end, length=len(picture))
            self._pictures.write(picture)
            self._end += len(picture)
        self.outcomes[outcome.row] = outcome
        self._waiting.append(outcome)
        if len(self._waiting) >= self._rows or time.monotonic() - self._written_at > self._seconds:
            self.write()

    def write(self) -> None:
        """Force to disk what was added."""
        if self._waiting:
            self._force(self._pictures)
            self._lines.writelines(json.dumps(astuple(one)).encode() + b"\n" for one in self._waiting)
            self._force(self._lines)
            self._waiting.clear()
        self._written_at = time.monotonic()

    def picture(self, outcome: Outcome) -> bytes:
        """The bytes to be packed of a row that went well. Raises `UserError` where they are gone."""
        self._pictures.flush()
        data = os.pread(self._pictures.fileno(), outcome.length, outcome.offset)
        if len(data) != outcome.length:
            raise UserError(f"{self._folder}: pictures.bin was cut short: delete the folder and download again")
        return data

    def _read(self, identity: str) -> tuple[dict[int, Outcome], int]:
        """The outcomes by row that are written down, and how many bytes of the journal are whole lines."""
        path = self._folder / "journal.jsonl"
        outcomes: dict[int, Outcome] = {}
        whole = 0
        for number, line in enumerate(_whole_lines(path)):
            whole += len(line)
            if number == 0:
                self._check(line, identity)
            else:
                outcome = self._outcome(line, number)
                outcomes[outcome.row] = outcome
        return outcomes, whole

    def _check(self, line: bytes, identity: str) -> None:
        try:
            found = json.loads(line)["download"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self._folder}: journal.jsonl is damaged: delete the folder") from None
        if found != identity:
            raise UserError(
                f"{self._folder}: the download in progress is of another list or under other rules: delete the folder"
                " to begin again, or give the pack another revision"
            )

    def _outcome(self, line: bytes, number: int) -> Outcome:
        try:
            values = json.loads(line)
            if len(values) != _WIDTH:
                raise ValueError
            return Outcome(*values)
        except (ValueError, TypeError):
            raise UserError(
                f"{self._folder}: line {number + 1} of journal.jsonl is damaged: delete the folder"
            ) from None

    @staticmethod
    def _force(stream: object) -> None:
        stream.flush()
        os.fsync(stream.fileno())


def _whole_lines(path: Path) -> Iterator[bytes]:
    if path.is_file():
        with path.open("rb") as lines:
            yield from (line for line in lines if line.endswith(b"\n"))
