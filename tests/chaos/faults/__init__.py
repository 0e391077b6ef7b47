"""The faults, by what they trouble; importing this registers them all."""

from __future__ import annotations

from tests.chaos.faults import durable, kill, network, process

__all__ = ["durable", "kill", "network", "process"]
