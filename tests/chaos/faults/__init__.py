"""The faults, by what they trouble; importing this registers them all."""

from __future__ import annotations

from tests.chaos.faults import (
    database,
    deals,
    durable,
    inside,
    kill,
    mail,
    network,
    power,
    process,
    soak,
    upgrade,
)

__all__ = [
    "database",
    "deals",
    "durable",
    "inside",
    "kill",
    "mail",
    "network",
    "power",
    "process",
    "soak",
    "upgrade",
]
