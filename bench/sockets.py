"""What the kernel says of a server's TCP connections."""

from __future__ import annotations


def unsent(port: int) -> list[int]:
    """For each connection of this local port, how many bytes wait to be sent or acknowledged."""
    with open("/proc/net/tcp") as lines:
        next(lines)
        return [size for line in lines if (size := _queue(line, port)) is not None]


def _queue(line: str, port: int) -> int | None:
    """A line of /proc/net/tcp, proc(5): number, local address, remote address, state, tx_queue:rx_queue, …"""
    fields = line.split()
    if int(fields[1].partition(":")[2], 16) != port or fields[3] != "01":
        return None
    return int(fields[4].partition(":")[0], 16)
