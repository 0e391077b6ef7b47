"""What /proc says of a running server: its processes, their processor time and memory, and the kernel's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Memory(NamedTuple):
    """Bytes. `kernel` is of the whole machine: both ends of a connection within it are in there."""

    process: int
    kernel: int


def family(pid: int) -> list[int]:
    """A process and all that come from it, such as nginx's worker."""
    parents = {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def processor_s(pid: int) -> float:
    """Seconds of processor time, the kernel's on its behalf included."""
    return sum(_processor_ticks(each) for each in family(pid)) / _TICKS_A_SECOND


def memory(pid: int) -> Memory:
    """What the processes hold alone and their part of what they share, and what the kernel holds in all."""
    return Memory(
        sum(_field_bytes(f"/proc/{each}/smaps_rollup", "Pss") for each in family(pid)), _kernel_bytes()
    )


def _kernel_bytes() -> int:
    """Slabs (sockets, files, what epoll notes) and the buffers of TCP."""
    with open("/proc/net/sockstat") as lines:
        pages = next(int(line.split()[-1]) for line in lines if line.startswith("TCP:"))
    return (
        _field_bytes("/proc/meminfo", "SUnreclaim")
        + _field_bytes("/proc/meminfo", "SReclaimable")
        + pages * _PAGE_BYTES
    )


def _field_bytes(path: str, name: str) -> int:
    with open(path) as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _stat(path: Path) -> list[str]:
    """The fields behind the program's name, which may hold anything; empty for a process that has ended."""
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(path: Path) -> int:
    fields = _stat(path)
    return int(fields[1]) if fields else 0


def _processor_ticks(pid: int) -> int:
    fields = _stat(Path(f"/proc/{pid}"))
    return int(fields[11]) + int(fields[12]) if fields else 0
