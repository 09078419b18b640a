"""Which URL is asked for next: list order, as far as politeness to each host allows."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

WINDOW = 50_000  # rows read ahead, so that one slow host among them does not stop the others


@dataclass(slots=True)
class Job:
    """A row of the list on its way: `url` is what is asked for next, `first` what the list says."""

    row: int
    first: str
    url: str
    attempts: int = 0
    redirects: int = 0
    seconds: float = 0.0


def host_of(url: str) -> str:
    """The host that politeness is about; "" where the URL has none that can be read."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


class Schedule:
    """Hands out jobs: at most `per_host` at once to a host, their starts `delay` seconds apart.

    Times are those of any clock that only goes forward; the caller says what time it is.
    """

    def __init__(self, jobs: Iterator[Job], per_host: int, delay: float, window: int = WINDOW) -> None:
        self._source = jobs
        self._per_host = per_host
        self._delay = delay
        self._window = window
        self._number = itertools.count()
        self._queues: dict[str, deque[Job]] = {}
        self._active: Counter[str] = Counter()
        self._open_at: dict[str, float] = {}  # before then no connection to the host is started
        self._hosts: list[tuple[float, int, str]] = []  # heap: each host once that has jobs and room for one
        self._listed: set[str] = set()
        self._later: list[tuple[float, int, Job]] = []  # heap: jobs that wait
        self._held = 0  # jobs in the queues and in `_later`

    def take(self, now: float) -> Job | None:
        """The next job that may start now; None where there is none at this time."""
        self._fill()
        while self._later and self._later[0][0] <= now:
            self._queue(heapq.heappop(self._later)[2])
        while self._hosts and self._hosts[0][0] <= now:
            _, _, host = heapq.heappop(self._hosts)
            self._listed.discard(host)
            if self._open_at.get(host, 0.0) > now:
                self._list(host)
                continue
            return self._start(host, now)
        return None

    def next_time(self) -> float | None:
        """When `take` may have a job without anything ending before; None where only an end can bring one."""
        times = [heap[0][0] for heap in (self._hosts, self._later) if heap]
        return min(times) if times else None

    def ended(self, host: str) -> None:
        """A connection to `host`, of a job taken before, is no longer used."""
        self._active[host] -= 1
        if not self._active[host]:
            del self._active[host]
        self._list(host)

    def again(self, job: Job, at: float) -> None:
        """Hand `job` out again, not before the time `at`."""
        self._held += 1
        heapq.heappush(self._later, (at, next(self._number), job))

    def pause(self, host: str, until: float) -> None:
        """Start nothing to `host` before then."""
        self._open_at[host] = max(until, self._open_at.get(host, 0.0))

    def _fill(self) -> None:
        while self._held < self._window and (job := next(self._source, None)) is not None:
            self._held += 1
            self._queue(job)

    def _queue(self, job: Job) -> None:
        host = host_of(job.url)
        self._queues.setdefault(host, deque()).append(job)
        self._list(host)

    def _list(self, host: str) -> None:
        if host in self._queues and host not in self._listed and self._active[host] < self._per_host:
            self._listed.add(host)
            heapq.heappush(self._hosts, (self._open_at.get(host, 0.0), next(self._number), host))

    def _start(self, host: str, now: float) -> Job:
        job = self._queues[host].popleft()
        if not self._queues[host]:
            del self._queues[host]
        self._held -= 1
        self._active[host] += 1
        if self._delay:
            self._open_at[host] = now + self._delay
        self._list(host)
        return job
