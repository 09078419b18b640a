"""What a download is told: rules, which decide what a pack holds, and the pace, which does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

AGENT = "vlrepro"


@dataclass(frozen=True)
class Rules:
    """What is fetched and kept; part of a pack's recipe.

    `format` is the list's (`lists.FORMATS`). A picture is refused over `max_bytes` (also when unpacked), `max_pixels`
    or `max_frames`, and where a side is under `min_side` pixels; one whose short side is over `short_side` is scaled
    down to it (None: never) and written as JPEG of `quality`. `allow_private`: addresses of private networks, too.
    Of a list with a file a year only those of `year` are read (None: all).
    """

    format: str
    short_side: int | None
    quality: int
    min_side: int
    max_bytes: int
    max_pixels: int
    max_frames: int
    max_redirects: int
    allow_private: bool
    year: int | None = None

    def identity(self) -> dict[str, Any]:
        """The rules as a download's identity has them: without what is not asked for."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("year", None)}


@dataclass(frozen=True)
class Pace:
    """How hard the network is asked; seconds unless said otherwise.

    `connections` at once, of which `per_host` to one host, `delay` between their starts; `connect`, `read` (of one
    piece) and `total` (of one request) are time limits. A request that may yet succeed is made up to `attempts`
    times, the first pause being up to `backoff`, doubling, and no pause over `longest_wait`. `decoders` processes
    decode (None: one a core). `home_page` (where you publish this project) and `contact` go into the user agent.
    """

    connections: int
    per_host: int
    delay: float
    connect: float
    read: float
    total: float
    attempts: int
    backoff: float
    longest_wait: float
    decoders: int | None
    home_page: str | None
    contact: str | None


def user_agent(pace: Pace) -> str:
    """The name under which servers see us: the project, its version, what for, and whom to ask."""
    try:
        release = version(AGENT)
    except PackageNotFoundError:
        release = "0"
    known = [f"+{pace.home_page}" if pace.home_page else None, "data set download for research", pace.contact]
    return f"{AGENT}/{release} ({'; '.join(filter(None, known))})"
