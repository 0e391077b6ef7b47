"""What import-prices says of bad rows."""

from __future__ import annotations

from pathlib import Path

from notifyd.cli.prices import BAD_ROWS_TOLD, _BadRows


def test_a_flood_of_bad_rows_is_cut() -> None:
    told: list[str] = []
    bad = _BadRows(Path("f"), told.append)
    for line in range(BAD_ROWS_TOLD + 50):
        bad.tell(line, "no")
    assert len(told) == BAD_ROWS_TOLD + 1
    assert told[0] == "f:0: no"
    assert "only counted" in told[-1]
