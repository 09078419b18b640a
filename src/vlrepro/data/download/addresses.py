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
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
    return all(_is_global(one) for one in (found, *_embedded(found)))


def _is_global(address: _Address) -> bool:
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    barred = address.is_multicast or address.is_private or address.is_unspecified or address.is_link_local
    return address.is_global and not barred and not site_local and not _reserved(address)


def _reserved(address: _Address) -> bool:
    # Python calls all of IPv6 outside 2000::/3 reserved, NAT64's prefix among it; that one is judged by what it embeds.
    return address.is_reserved and not (address.version == 6 and address in _NAT64)


def _embedded(address: _Address) -> list[_Address]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if address.version == 4:
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for one entry of `getaddrinfo`; raises `PrivateAddress` unless its address is public."""
    family, kind, protocol, _, place = info
    if not is_public(place[0]):
        raise PrivateAddress
    return socket.socket(family, kind, protocol)
