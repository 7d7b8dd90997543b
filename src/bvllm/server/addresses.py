"""Decide which addresses may be fetched from: names on a list, at addresses that are public.

One strict grammar reads a URL, so that no two parsers can disagree about its host.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network

URL = re.compile(
    r"(https?)://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::([1-9][0-9]{0,4}))?((?:/[!-~]*)?(?:\?[!-~]*)?)",
    re.IGNORECASE | re.ASCII,
)
MOST_URL = 4096
NUMERIC = re.compile(
    r"0x[0-9a-f]*|[0-9]+", re.ASCII
)  # a last label like this makes an address: 127.1, 0x7f.1
USUAL_PORTS = {"http": 80, "https": 443}
# IPv6 networks that carry an IPv4 address, and how far to its right end.
CARRIERS = [
    (ip_network("::ffff:0:0/96"), 0),
    (ip_network("64:ff9b::/96"), 0),  # NAT64
    (ip_network("::/96"), 0),
    (ip_network("2002::/16"), 80),  # 6to4
]
# `is_global` lets these pass, or some releases of Python do.
NEVER = [
    ip_network(net)
    for net in (
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo
        "fec0::/10",
        "100::/64",
        "192.88.99.0/24",
        "100.64.0.0/10",  # carrier-grade NAT
    )
]


@dataclass(frozen=True)
class Target:
    """One address, taken apart.

    Attributes:
        scheme, host, port: lower case.
        path: with the query, as it goes into the request.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The name, with its port where that is not the usual one."""
        return self.host if self.port == USUAL_PORTS[self.scheme] else f"{self.host}:{self.port}"


class Refused(Exception):
    """A fetch that is not made, or was broken off; the message is one of our words for why."""


def parse_url(url: str, allowed: Collection[str]) -> Target:
    """Take a URL apart, if its host is on the list.

    Args:
        allowed: names, or `name:port` for a port other than 80 and 443. Addresses are never allowed, in
            whatever spelling.

    Raises:
        Refused: it is no URL in the narrow sense ("url"), or its host is not on the list ("host").
    """
    found = URL.fullmatch(url.split("#", 1)[0]) if len(url) <= MOST_URL else None
    if found is None or "\\" in url or "@" in found[0].split("/", 3)[2]:
        raise Refused("url")
    scheme, host = found[1].lower(), found[2].lower()
    port = int(found[3] or USUAL_PORTS[scheme])
    if NUMERIC.fullmatch(host.rsplit(".", 1)[-1]) or port > 65535:
        raise Refused("host")
    listed = host in allowed and port in USUAL_PORTS.values()
    if not listed and f"{host}:{port}" not in allowed:
        raise Refused("host")
    path = found[4] or "/"
    return Target(scheme, host, port, path if path.startswith("/") else "/" + path)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, whatever IPv6 wraps it in.

    Example:
        >>> [is_public(a) for a in ("8.8.8.8", "10.0.0.1", "64:ff9b::7f00:1", "169.254.169.254")]
        [True, False, False, False]
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if found.version == 6:
        if found.scope_id:
            return False
        for network, shift in CARRIERS:
            if found in network:
                return is_public(str(IPv4Address(int(found) >> shift & 0xFFFFFFFF)))
    kept_back = any(found.version == net.version and found in net for net in NEVER)
    return found.is_global and not (found.is_multicast or found.is_reserved or kept_back)
