"""Which network addresses may be spoken to, checked on the very address that a connection is made to.

A name may resolve to another address each time it is asked (DNS rebinding), so checking a name or a first answer is
not enough: `guarded_socket` is called with the address that is about to be connected to, whatever it came from.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(OSError):
    """A connection to an address that is not public was about to be made."""

    TEXT = "not a public address"

    def __init__(self) -> None:
        super().__init__(errno.EACCES, self.TEXT)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's.

    Not: private, loopback, link-local, multicast, reserved and unspecified ones, nor an IPv6 address that stands for
    such an IPv4 address (mapped, 6to4, Teredo, NAT64). Raises `ValueError` where it is no address.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        translated = found.ipv4_mapped or (_low_bits(found) if found in _NAT64 else None)
        embedded = [found.sixtofour, *(found.teredo or ())]
        return all(_is_global(one) for one in (translated or found, *embedded) if one is not None)
    return _is_global(found)


def _low_bits(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    special = address.is_private or address.is_link_local or address.is_reserved or address.is_unspecified
    return address.is_global and not (special or site_local or address.is_multicast)


def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for one entry of `getaddrinfo`; raises `PrivateAddress` unless its address is public."""
    family, kind, protocol, _, place = info
    if not is_public(place[0]):
        raise PrivateAddress
    return socket.socket(family, kind, protocol)
