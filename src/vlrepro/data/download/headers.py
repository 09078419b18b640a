"""What a server's headers ask of us: to stay away (X-Robots-Tag) or to wait (Retry-After)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from vlrepro.data.download.options import AGENT

OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})  # none is short for noindex, nofollow
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def opted_out(values: Iterable[str]) -> bool:
    """Whether any X-Robots-Tag header asks not to use the picture.

    `agent: directive, directive` speaks to that agent only: it counts where the agent is ours or `*`.
    """
    return any(directive in OPT_OUT for value in values for directive in _for_us(value))


def _for_us(value: str) -> Iterable[str]:
    """The directives of one header that are for every agent or for ours."""
    addressed = True
    for part in value.lower().split(","):
        name, colon, rest = part.strip().partition(":")
        if colon and name.strip() not in _VALUED:
            addressed = name.strip() in (AGENT, "*")
            name = rest
        if addressed:
            yield name.strip()


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header (seconds, or a date) asks to wait; None where it says nothing we can read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
