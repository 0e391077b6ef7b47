"""The faults, by what they trouble; importing this registers them all."""

from __future__ import annotations

from tests.chaos.faults import deals, durable, inside, kill, mail, network, process, soak

__all__ = ["deals", "durable", "inside", "kill", "mail", "network", "process", "soak"]
