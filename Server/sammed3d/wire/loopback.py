"""Addresses that only this computer reaches."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether nobody else can reach this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
