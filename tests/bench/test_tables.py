"""The document's tables, and that they show what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from bench import results, tables
from bench.capacity import Costs, needs
from bench.connections import DELIVERY, HEARTBEAT
from bench.report import Row, at_least, figure


def kept(*rows: Row, **more: Any) -> dict[str, Any]:
    machine = {"processor": "P", "cores": 2, "memory_gb": 4, "kernel": "Linux 6", "python": "CPython 3.11"}
    start = {"date": "2026-01-31", "machine": machine, "versions": {"Node ws": "8"}}
    return {**start, "rows": list(map(results.as_dict, rows)), **more}


def cost_rows(name: str, own: float, kernel: float) -> list[Row]:
    return [
        figure(f"processor time of a delivery, {name}, its own", own, "µs"),
        figure(f"processor time of a delivery, {name}, the kernel's", kernel, "µs"),
    ]


FANOUT = kept(
    at_least("against Node ws", 1.5, 1.6, rounds=[1.5, 1.7], told="16 against 10 /s"),
    figure("deliveries a second, notifyd", 100_000.0, "/s", [99_000.0, 101_000.0]),
    figure("deliveries a second, Node ws", 60_000.0, "/s"),
    figure("deliveries a second, notifyd, bursts of 10", 800_000.0, "/s"),
    *cost_rows("notifyd", 1.0, 7.0),
    *cost_rows("Node ws", 8.0, 8.0),
    figure("processor time of a publish over HTTP", 400.0, "µs"),
)
LATENCY = kept(
    figure("WebSocket, 100 clients, p50", 1.0, "ms"),
    figure("WebSocket, 100 clients, p95", 2.0, "ms"),
    figure("WebSocket, 100 clients, p99", 3.0, "ms"),
    figure("processor time of an own notification, by batches", 60.0, "µs"),
)

CONNECTIONS = kept(figure(DELIVERY, 9.0, "µs"), figure(HEARTBEAT, 50.0, "µs"), series=[[10_000, 7000, 5000]])


def test_the_document_shows_what_was_measured() -> None:
    """When this fails: `python -m bench.tables`."""
    document = tables.DOCUMENT.read_text()
    assert tables.filled(document, tables.tables(tables.read_all())) == document


def test_goals_have_ratio_rounds_verdict_and_command_and_what_was_not_run_is_named() -> None:
    lines = tables.goals({"fanout": FANOUT}).splitlines()
    assert lines[2] == (
        "| against Node ws | ≥ 1.5 | 16 against 10 /s | 1.6 | 1.5 – 1.7 | holds | `python -m bench fanout` |"
    )
    assert [line for line in lines if "not measured yet" in line and "`python -m bench stall`" in line]


def test_servers_are_sorted_and_compared() -> None:
    lines = tables.servers(FANOUT, "notifyd").splitlines()
    assert lines[2:] == [
        "| **notifyd** |  | 100,000 | 99,000 – 101,000 |  | 1 | 7 | 88% |",
        "| Node ws | 8 | 60,000 |  | 1.67 | 8 | 8 | 50% |",
    ]


def test_latency_is_a_line_for_each_situation() -> None:
    assert tables.latency({"latency": LATENCY}).splitlines()[2:] == ["| WebSocket, 100 clients | 1 | 2 | 3 |"]


def test_memory_is_what_is_in_bytes() -> None:
    result = kept(figure("an idle WebSocket", 7000.0, "bytes"), figure("a broadcast", 90.0, "ms"))
    assert tables.memory({"connections": result}).splitlines()[2:] == ["| an idle WebSocket | 7,000 |"]


def test_capacity_needs_all_runs_and_multiplies_what_they_measured() -> None:
    assert "Not measured yet" in tables.capacity({"fanout": FANOUT})
    every = {"fanout": FANOUT, "latency": LATENCY, "connections": CONNECTIONS}
    assert tables.costs(every) == pytest.approx(Costs(9e-6, 50e-6, 60e-6, 400e-6, 7000, 2500))
    assert "| memory of the processes | 0.7 GB | 7 GB |" in tables.capacity(every)


def test_needs_of_a_hundred_thousand() -> None:
    need = needs(100_000, Costs(1e-5, 5e-5, 6e-5, 4e-4, 7000, 2500))
    assert need.broadcast_s == pytest.approx(1.0004)
    assert need.heartbeat_cores == pytest.approx(100_000 * 5e-5 / 30)
    assert need.single_cores == pytest.approx(100_000 / 60 * 4e-4)
    assert need.own_cores == pytest.approx(0.1)
    assert need.cores == pytest.approx(2 * need.busy_cores)
    assert need.kernel_gb == pytest.approx(0.25)


def test_a_table_goes_into_its_place_again_and_again() -> None:
    document = "a\n<!-- goals -->\nold\n<!-- /goals -->\nb\n"
    once = tables.filled(document, {"goals": r"| \1 |"})
    assert once == "a\n<!-- goals -->\n| \\1 |\n<!-- /goals -->\nb\n"
    assert tables.filled(once, {"goals": r"| \1 |"}) == once
    with pytest.raises(ValueError, match="no place for other"):
        tables.filled(document, {"other": ""})
