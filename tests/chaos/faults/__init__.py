"""The faults, by what they trouble; importing this registers them all."""

from __future__ import annotations

from tests.chaos.faults import deals, durable, kill, network, process

__all__ = ["deals", "durable", "kill", "network", "process"]
