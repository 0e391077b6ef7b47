"""What a run leaves behind."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from bench import results
from bench.report import Rows, at_least, figure

if TYPE_CHECKING:
    from pathlib import Path

ROWS = Rows(
    [at_least("ratio", 0.9, 0.95, rounds=[0.9, 0.95, 1.0]), figure("rate", 10.0, "/s")], series=[[1, 2.0]]
)


def test_rows_and_series_come_back(tmp_path: Path) -> None:
    results.write("fanout", ROWS, quick=False, seconds=12.3, folder=tmp_path)
    kept = results.read("fanout", tmp_path)
    assert kept is not None
    assert results.rows_of(kept) == list(ROWS)
    assert kept["series"] == [[1, 2.0]]
    assert kept["command"] == "python -m bench fanout"


def test_a_row_has_the_keys_that_others_read(tmp_path: Path) -> None:
    path = results.write("fanout", ROWS, quick=False, seconds=1.0, folder=tmp_path)
    row = json.loads(path.read_text())["rows"][0]
    assert {"name", "goal", "measured", "unit", "holds", "rounds"} <= row.keys()
    assert (row["low"], row["high"]) == (0.9, 1.0)


def test_the_machine_is_described_but_not_named(tmp_path: Path) -> None:
    path = results.write("fanout", ROWS, quick=True, seconds=1.0, folder=tmp_path)
    kept = json.loads(path.read_text())
    assert kept["machine"].keys() == {"processor", "cores", "memory_gb", "kernel", "python"}
    assert str(tmp_path) not in path.read_text()
    assert socket.gethostname() not in path.read_text()


def test_what_was_never_run_is_none(tmp_path: Path) -> None:
    assert results.read("fanout", tmp_path) is None
    assert results.rows_of(None) == []
