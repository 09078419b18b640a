"""One training as several processes of one machine: torchrun's agent, and how what ends them reaches the user.

The agent is the one that `torchrun --standalone` runs; it differs in what is printed and in the exit code. Only the
first process's prints are shown. Where one fails all end, with one line where the user can mend it, and where one asks
to be started again (exit code 75) so does the whole. A command that was started by torchrun itself, on several
machines for example, takes part in its processes as it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlrepro.errors import UserError, one_line

AGAIN = 75  # EX_TEMPFAIL of sysexits.h: not done, start it again
_REPORT = "TORCHELASTIC_ERROR_FILE"
_GRACE = 2.0  # seconds in which the others tell what made this process fail


def launched() -> bool:
    """Whether torchrun's agent, ours or another, started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(command: Sequence[str], processes: int) -> None:
    """Run `command` as `processes` processes that find one another as torchrun's do, to their end.

    SIGTERM, SIGINT, SIGHUP and SIGQUIT are passed on, and those that have not ended 30 seconds later are killed.

    Raises:
        UserError: one of them failed by something that the user can mend, or was killed.
        SystemExit: with 75 where one ended with it; else with 1 after a defect of ours, whose traceback is printed, and
            with 128 + its number after a signal.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it would tell, we tell in a line
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns that it looks for unused parameters: we ask it to
    with tempfile.TemporaryDirectory(prefix="processes-", ignore_cleanup_errors=True) as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id="training",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, processes), Std.OUT)),
        )
        try:
            elastic_launch(config, command[0])(*command[1:])
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            _end(codes, _reports(folder), processes)
        except SignalException as error:
            codes = [report["exit_code"] for report in _reports(folder)]
            raise SystemExit(AGAIN if AGAIN in codes else 128 + error.sigval) from None


@contextmanager
def reported() -> Iterator[None]:
    """Leave why the block failed for the agent that started this process, if one did, instead of printing it.

    A failure that the user cannot mend waits a moment: it may be another process's end that caused it.
    """
    try:
        yield
    except (UserError, OSError) as error:
        if not launched():
            raise
        _report(traceback.format_exc() if os.environ.get("VLREPRO_DEBUG") else one_line(error), "user", 1)
        raise SystemExit(1) from None
    except SystemExit as error:
        if launched() and error.code:
            _report("", "exit", error.code if isinstance(error.code, int) else 1)
        raise
    except Exception:
        if not launched():
            raise
        _report(traceback.format_exc(), "defect", 1)
        time.sleep(_GRACE)
        raise SystemExit(1) from None


def _report(text: str, kind: str, code: int) -> None:
    """In the layout that torchrun reads (`torch.distributed.elastic.multiprocessing.errors`), with entries of ours."""
    extra = {"py_callstack": text, "timestamp": str(int(time.time())), "kind": kind, "exit_code": code}
    if path := os.environ.get(_REPORT):
        Path(path).write_text(json.dumps({"message": {"message": text, "extraInfo": extra}}))


def _reports(folder: str) -> list[dict[str, Any]]:
    """What processes reported, by rank: their last words `text`, their `kind` and `exit_code`."""
    found = []
    for path in sorted(Path(folder).rglob("error.json"), key=lambda path: int(path.parent.name)):
        try:
            message = json.loads(path.read_text())["message"]
            found.append({"text": message["message"], **message["extraInfo"]})
        except ValueError:  # killed while it wrote
            continue
    return found


def _end(codes: dict[int, int], reports: Sequence[dict[str, Any]], processes: int) -> None:
    """Raise what all processes end for, given some exit codes by rank: the likeliest cause first."""
    if AGAIN in codes.values() or any(report["exit_code"] == AGAIN for report in reports):
        raise SystemExit(AGAIN)
    if mendable := [report for report in reports if report["kind"] == "user"]:
        raise UserError(mendable[0]["text"])
    for rank, code in codes.items():
        if code < 0 and -code != signal.SIGTERM:
            name = signal.Signals(-code).name
            hint = ": it may have run out of memory: ask for more (resources.train_memory_mb) or lower batch_size"
            raise UserError(f"process {rank} of {processes} was killed by {name}{hint if name == 'SIGKILL' else ''}")
    defects = [report["text"] for report in reports if report["kind"] == "defect"]
    print(defects[0] if defects else f"error: a process of {processes} ended with {codes}", file=sys.stderr)
    raise SystemExit(1)
