"""A process that makes crops for another: `python -m vlrepro.data.crop_worker`, jobs on stdin, answers on stdout.

An answer is None, the row and the reason of an `UnreadableError`, or the traceback of a defect. The process ends with
the one that feeds it, whichever way that ends, and with nothing else: a signal to end is for the training, which first
saves and for which the crops of its last step are needed.
"""

from __future__ import annotations

import pickle
import signal
import sys
import traceback

import cv2

from vlrepro.data.cropping import UnreadableError, make


def serve() -> None:
    """Answer jobs until there are no more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            job = pickle.load(jobs)
        except EOFError:
            return
        answer: str | tuple[int, str] | None = None
        try:
            make(job)
        except UnreadableError as error:
            answer = error.row, error.reason
        except Exception:
            answer = traceback.format_exc()
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            return


if __name__ == "__main__":
    serve()
