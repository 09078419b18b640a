"""A download from start to end: every row of a list asked for until it has an outcome."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vlrepro.data.download.client import Client
from vlrepro.data.download.decoders import Decoders
from vlrepro.data.download.journal import Journal
from vlrepro.data.download.options import Pace, Rules
from vlrepro.data.download.outcomes import NETWORK, OK, Answer, Outcome
from vlrepro.data.download.schedule import Job, Schedule, host_of
from vlrepro.errors import UserError

_TELL_SECONDS = 30.0
OUTAGE = 300  # failures to reach anyone in a row, at `OUTAGE_HOSTS` hosts or more, that mean our own network is down
OUTAGE_HOSTS = 20


def download(urls: Iterator[str], journal: Journal, rules: Rules, pace: Pace) -> None:
    """Bring every URL that has no outcome in `journal` to one. Rows are the URLs' places.

    Raises `UserError` where our own network seems to be down; what was done before is kept.
    """
    jobs = (Job(row, url, url) for row, url in enumerate(urls) if row not in journal.outcomes)
    schedule = Schedule(jobs, pace.per_host, pace.delay)
    try:
        asyncio.run(_run(schedule, journal, rules, pace))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _run(schedule: Schedule, journal: Journal, rules: Rules, pace: Pace) -> None:
    # Names are looked up in threads, as the system's call blocks: enough that dead names keep none waiting.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(pace.connections))
    async with Client(rules, pace) as client, Decoders(rules, pace.decoders) as decoders:
        recorder = _Recorder(journal)
        await _Run(schedule, recorder, client, decoders, rules, pace).all()
        recorder.close()


@dataclass
class _Recorder:
    """Writes outcomes down; failures that our own network may be to blame for wait until it is seen to work."""

    journal: Journal
    _doubtful: list[Outcome] = field(default_factory=list)
    _silent: set[str] = field(default_factory=set)  # their hosts
    _told: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome, host: str, data: bytes = b"") -> None:
        if outcome.reason in NETWORK:
            self._doubtful.append(outcome)
            self._silent.add(host)
            if len(self._doubtful) >= OUTAGE and len(self._silent) >= OUTAGE_HOSTS:
                raise UserError(
                    f"no host of the last {len(self._doubtful)} URLs can be reached: mend the network or name server"
                    " and run again; what was downloaded is kept"
                )
            return
        if outcome.http:
            self.close()
        self.journal.add(outcome, data)
        self._tell()

    def close(self) -> None:
        """Believe the failures that wait."""
        for outcome in self._doubtful:
            self.journal.add(outcome)
        self._doubtful.clear()
        self._silent.clear()

    def _tell(self) -> None:
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            counts = Counter(one.reason for one in self.journal.outcomes.values())
            common = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(6))
            print(f"{sum(counts.values()):,} URLs: {common}", flush=True)


class _Run:
    """One task a connection in use, started by one loop that asks the schedule what may start."""

    def __init__(
        self,
        schedule: Schedule,
        recorder: _Recorder,
        client: Client,
        decoders: Decoders,
        rules: Rules,
        pace: Pace,
    ) -> None:
        self._schedule = schedule
        self._recorder = recorder
        self._client = client
        self._decoders = decoders
        self._rules = rules
        self._pace = pace
        self._running = 0
        self._changed = asyncio.Event()

    async def all(self) -> None:
        """Until nothing is left to do."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                self._start_what_may(tasks)
                when = self._schedule.next_time()
                if not self._running and when is None:
                    return
                room = self._running < self._pace.connections
                await self._wait(when - time.monotonic() if room and when is not None else None)

    def _start_what_may(self, tasks: asyncio.TaskGroup) -> None:
        while self._running < self._pace.connections and (job := self._schedule.take(time.monotonic())):
            self._running += 1
            tasks.create_task(self._serve(job))

    async def _wait(self, seconds: float | None) -> None:
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _serve(self, job: Job) -> None:
        """One request of a job and what follows from it."""
        host = host_of(job.url)
        started = time.monotonic()
        answer = await self._client.get(job.url)
        job.seconds += time.monotonic() - started
        self._schedule.ended(host)
        self._changed.set()
        job.attempts += not job.redirects
        if answer.location and job.redirects < self._rules.max_redirects:
            job.redirects += 1
            job.url = answer.location
            self._schedule.again(job, time.monotonic())
        elif answer.again and job.attempts < self._pace.attempts:
            self._retry(job, host, answer)
        else:
            await self._finish(job, answer)
        self._running -= 1
        self._changed.set()

    def _retry(self, job: Job, host: str, answer: Answer) -> None:
        """Try the job's first URL again, after what the server asked for or, without that, a pause drawn by lot.

        Full jitter: uniform below a bound that doubles with each attempt, so that failures at one time do not return
        at one time.
        """
        pause = random.uniform(0, self._pace.backoff * 2 ** (job.attempts - 1))
        if answer.wait is not None:
            pause = min(answer.wait, self._pace.longest_wait)
            self._schedule.pause(host, time.monotonic() + pause)
        job.url, job.redirects = job.first, 0
        self._schedule.again(job, time.monotonic() + min(pause, self._pace.longest_wait))

    async def _finish(self, job: Job, answer: Answer) -> None:
        facts = {"row": job.row, "http": answer.status, "seconds": round(job.seconds, 3), "attempts": job.attempts}
        if answer.reason != OK:
            self._recorder.add(Outcome(reason=answer.reason, **facts), host_of(job.first))
            return
        packed = await self._decoders.pack(answer.body)
        facts |= {"bytes": len(answer.body), "sha256": packed.sha256, "width": packed.width, "height": packed.height}
        facts |= {"packed_width": packed.packed_width, "packed_height": packed.packed_height}
        self._recorder.add(Outcome(reason=packed.reason, **facts), host_of(job.first), packed.data)
