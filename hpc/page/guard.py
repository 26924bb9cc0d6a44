"""Whose requests are answered? Pure functions of a request's headers.

A page of any website may make a browser send requests to this machine. The token of the run keeps
strangers out; a name that is not this machine's, as in DNS rebinding, and an origin that is not
this page are refused even with it.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping

from tornado.httputil import split_host_and_port

EVERYWHERE = ("0.0.0.0", "::", "")
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every response: nothing from elsewhere, no script in the page, no frame around it, no copy."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_allowed(header: str, bound: str) -> bool:
    """Whether a request was meant for this server.

    Parameters
    ----------
    header : str
        ``Host``. Any port: a tunnel has its own.
    bound : str
        Where the server listens. Where that is everywhere, any address will do, and this machine's
        own names, but no other name: one could lead here by somebody else's DNS.
    """
    name = split_host_and_port(header.lower())[0].strip("[]")
    if name in LOCAL or name == bound.lower():
        return bool(name)
    if bound not in EVERYWHERE:
        return False
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return name in {socket.gethostname().lower(), socket.getfqdn().lower()}


def origin_allowed(origin: str | None, host: str) -> bool:
    """Whether what changes something was asked for by this server's own page; none is none."""
    return origin is not None and origin.lower() == f"http://{host.lower()}"


def token_allowed(given: str, token: str) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(given.encode(), token.encode())
