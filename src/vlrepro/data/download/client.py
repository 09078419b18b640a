"""One HTTP request at a time: bounded in time and bytes, to public addresses only, redirects handed back.

aiohttp speaks HTTP and TLS; it is told to follow no redirect, unpack nothing, keep no cookies and read no proxy from
the environment, because each of these would step around a limit.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from types import TracebackType

import aiohttp
from yarl import URL

from vlrepro.data.download.addresses import PrivateAddress, guarded_socket, is_public
from vlrepro.data.download.headers import opted_out, retry_after
from vlrepro.data.download.options import Pace, Rules, user_agent
from vlrepro.data.download.outcomes import OK, Answer, failure, refusal

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's: gzip's or zlib's wrapping of deflate
_PLACEHOLDERS = frozenset({("i.imgur.com", "/removed.png"), ("imgur.com", "/removed.png")})
_DNS_TTL = 300


class _Refused(Exception):
    """A body that breaks a rule; the argument is the ledger's reason."""


class Client:
    """Makes requests under `rules` at `pace`; an asynchronous context manager."""

    def __init__(self, rules: Rules, pace: Pace) -> None:
        self._rules = rules
        self._pace = pace

    async def __aenter__(self) -> Client:
        connector = aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=_DNS_TTL, socket_factory=None if self._rules.allow_private else guarded_socket
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": user_agent(self._pace),
                "Accept": "image/jpeg,image/png,image/webp,image/gif,image/*;q=0.5",
                "Accept-Encoding": "identity",
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._pace.connect, sock_read=self._pace.read),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, url: str) -> Answer:
        """Ask for `url` once. Never raises for what a server or a list may do; the answer says what went wrong."""
        try:
            target = URL(url)
            reason = self._unfit(target)
        except ValueError:
            return Answer("url")
        if reason:
            return Answer(reason)
        try:
            async with asyncio.timeout(self._pace.total), self._session.get(target, allow_redirects=False) as response:
                return await self._answer(target, response)
        except _Refused as error:
            return Answer(str(error), response.status)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return _explained(error)

    def _unfit(self, target: URL) -> str | None:
        """Why a URL is not asked for at all."""
        if target.scheme not in ("http", "https"):
            return "scheme"
        if not target.host or target.user is not None or target.password is not None:
            return "url"
        if (target.host.lower().rstrip("."), target.path) in _PLACEHOLDERS:
            return "removed_placeholder"
        return "private_address" if not self._rules.allow_private and _private_literal(target.host) else None

    async def _answer(self, target: URL, response: aiohttp.ClientResponse) -> Answer:
        headers = response.headers
        if opted_out(headers.getall("X-Robots-Tag", ())):
            return Answer("robots", response.status)
        if response.status in _REDIRECTS:
            place = headers.get("Location")
            if not place:
                return Answer("redirect", response.status)
            return Answer("redirect", response.status, location=str(target.join(URL(place))))
        if response.status != 200:
            return refusal(response.status, retry_after(headers.get("Retry-After")))
        body = await self._body(response)
        return Answer(OK, response.status, body) if body else Answer("empty", response.status)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, unpacked. Raises `_Refused` as soon as what was sent or what it unpacks to is over the limit."""
        limit = self._rules.max_bytes
        if (response.content_length or 0) > limit:
            raise _Refused("too_big")
        bits = _WINDOW_BITS.get(response.headers.get("Content-Encoding", "").strip().lower())
        packed = zlib.decompressobj(bits) if bits else None
        sent, unpacked, pieces = 0, 0, []
        async for piece in response.content.iter_any():
            sent += len(piece)
            if packed:
                piece = _unpacked(packed, piece, limit - unpacked)
            unpacked += len(piece)
            if max(sent, unpacked) > limit:
                raise _Refused("too_big")
            pieces.append(piece)
        return b"".join(pieces)


def _unpacked(packed: zlib._Decompress, piece: bytes, room: int) -> bytes:
    """What `piece` unpacks to: never more than a byte over `room`, which is enough to see that it is too much."""
    try:
        return packed.decompress(piece, room + 1)
    except zlib.error:
        raise _Refused("decode") from None


def _private_literal(host: str) -> bool:
    """Whether a URL's host is an address, in the usual notation, that is not public."""
    try:
        return not is_public(host)
    except ValueError:
        return False  # a name, or a number in another notation: the connection's own address is checked


def _explained(error: Exception) -> Answer:
    """The ledger's word for an error of a request."""
    if _mentions_private(error):
        return failure("private_address")
    if isinstance(error, TimeoutError):
        return failure("timeout")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Answer("dns", again=error.os_error.errno == socket.EAI_AGAIN)
    if isinstance(error, aiohttp.ClientSSLError):
        return failure("tls")
    if isinstance(error, aiohttp.ClientConnectorError):
        return failure("connect")
    if isinstance(error, aiohttp.ClientPayloadError):
        return failure("cut_short")
    if isinstance(error, aiohttp.ClientResponseError):
        return failure("bad_response", error.status if error.status >= 600 else 0)
    if isinstance(error, aiohttp.InvalidURL) or not isinstance(error, aiohttp.ClientError | OSError):
        return failure("url")
    return failure("reset")


def _mentions_private(error: Exception) -> bool:
    # Where all addresses of a name fail, aiohttp may fold their errors into one: only the text remains.
    inner = getattr(error, "os_error", error)
    return isinstance(inner, PrivateAddress) or PrivateAddress.TEXT in str(inner)
