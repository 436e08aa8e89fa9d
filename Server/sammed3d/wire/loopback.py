"""Addresses that only this computer reaches."""

from __future__ import annotations

import ipaddress


def bare(host: str) -> str:
    """Return an address as the system takes it: IPv6 without the brackets that it has in URLs."""
    inside = host[1:-1] if host.startswith("[") and host.endswith("]") else ""
    return inside if ":" in inside else host


def is_loopback(host: str) -> bool:
    """Tell whether nobody else can reach this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
