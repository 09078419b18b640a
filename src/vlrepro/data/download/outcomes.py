"""How a request and a row of the list end: the words that the ledger uses."""

from __future__ import annotations

from dataclasses import dataclass

OK = "ok"
# Reasons of the ledger; beside them http_<status> of an answer that is neither a picture nor a redirect.
REASONS = {
    "url": "the URL cannot be read, or carries a user name",
    "scheme": "neither http nor https",
    "private_address": "the name leads to an address that is not public",
    "dns": "the name does not resolve",
    "connect": "no connection to the host",
    "tls": "the certificate or the handshake is wrong",
    "timeout": "a time limit passed",
    "reset": "the connection ended before an answer",
    "cut_short": "the connection ended within the picture",
    "bad_response": "the answer is not HTTP, or its headers are too long or too many",
    "redirect": "too many redirects, or one that leads nowhere",
    "removed_placeholder": "the host shows a placeholder for a picture that was removed",
    "robots": "the answer asks not to be used (X-Robots-Tag)",
    "empty": "an answer without a body",
    "too_big": "more bytes than allowed, as sent or unpacked",
    "not_image": "the bytes begin as no picture of a kind that we read",
    "too_small": "a side is shorter than allowed",
    "bomb": "more pixels or frames than allowed",
    "decode": "the picture does not decode completely",
}
NETWORK = frozenset({"dns", "connect", "timeout"})  # what everything fails with where our own network is down
_PASSING = frozenset({"connect", "timeout", "reset", "cut_short"})
_LASTING_5XX = frozenset({501, 505, 506, 508, 510, 511})
_PASSING_4XX = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Answer:
    """What one request led to: `body` of an ok one, `location` of a redirect, else the `reason` for having neither.

    `status` is 0 where there was no answer; `wait` is what Retry-After asked for, in seconds; `again` says that the
    same request may succeed later.
    """

    reason: str
    status: int = 0
    body: bytes = b""
    location: str = ""
    wait: float | None = None
    again: bool = False


def failure(reason: str, status: int = 0) -> Answer:
    """A request that failed, worth repeating where the reason is one that passes."""
    return Answer(reason, status, again=reason in _PASSING)


def refusal(status: int, wait: float | None) -> Answer:
    """An answer of another status than success: worth repeating after 408, 425, 429 and most of 5xx."""
    again = status in _PASSING_4XX or (500 <= status < 600 and status not in _LASTING_5XX)
    return Answer(f"http_{status}", status, wait=wait, again=again)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row of the list; `sha256` is of the bytes as sent, `width` and `height` are theirs in pixels.

    `seconds` is the time in requests, `attempts` the number of tries, of which each may follow redirects. A packed
    picture is at `offset` of the state's pictures, `length` bytes long, `packed_width` x `packed_height`.
    """

    row: int
    reason: str
    http: int = 0
    bytes: int = 0
    sha256: str = ""
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    attempts: int = 0
    offset: int = 0
    length: int = 0
    packed_width: int = 0
    packed_height: int = 0
