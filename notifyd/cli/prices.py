"""The command import-prices: a file of prices into a running server."""

from datetime import date
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from notifyd.cli.options import Once, Server, seconds
from notifyd.cli.progress import Notice, progress
from notifyd.errors import ConfigError
from notifyd.importer import Summary, import_prices, make_spec
from notifyd.publisher import open_publisher

#: Bad rows that are told one by one; the summary counts all.
BAD_ROWS_TOLD = 100
#: Seconds between remarks on progress where there is no terminal to draw on.
PLAIN_PROGRESS_SECONDS = 5.0


async def import_file(
    file: Path,
    /,
    *,
    map_: Annotated[
        list[str] | None, Parameter(name="--map", help="FIELD=COLUMN; repeatable", negative="")
    ] = None,
    set_: Annotated[
        list[str] | None, Parameter(name="--set", help="FIELD=VALUE for every row; repeatable", negative="")
    ] = None,
    observed_at: Annotated[str | None, Parameter(help="column with the time of the price")] = None,
    week_one: Annotated[
        str | None, Parameter(help="date of week 1: that column then has week numbers")
    ] = None,
    decimals: Annotated[int, Parameter(help="digits after the point in the price column")] = 0,
    retry: Annotated[str, Parameter(help="how long to try again what may pass")] = "60s",
    server: Server | None = None,
) -> int:
    """Import prices from a file; 1 when rows were bad."""
    spec = make_spec(
        map_ or [], set_ or [], observed_at=observed_at, week_one=_date(week_one), decimals=decimals
    )
    server = server or Server()
    address, key = server.address(), server.publish_key()
    with progress("rows", plain_every_s=PLAIN_PROGRESS_SECONDS) as (notice, on_progress):
        bad = _BadRows(file, notice)
        async with open_publisher(address, key, give_up_s=seconds(retry), on_retry=Once(notice)) as publisher:
            summary = await import_prices(
                file, spec, publisher.post_prices, on_bad=bad.tell, on_note=notice, on_progress=on_progress
            )
    print(_sentence(summary))
    return 1 if summary.bad else 0


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--week-one {text}: write a date like 1989-09-14") from None


def _sentence(summary: Summary) -> str:
    return (
        f"{summary.read:,} rows read: {summary.added:,} stored new, "
        f"{summary.known:,} already there, {summary.bad:,} bad"
    )


class _BadRows:
    """Tells the first bad rows with their lines."""

    def __init__(self, file: Path, notice: Notice) -> None:
        self._file = file
        self._notice = notice
        self._told = 0

    def tell(self, line: int, reason: str) -> None:
        self._told += 1
        if self._told <= BAD_ROWS_TOLD:
            self._notice(f"{self._file}:{line}: {reason}")
        elif self._told == BAD_ROWS_TOLD + 1:
            self._notice(f"more than {BAD_ROWS_TOLD} bad rows; the others are only counted")
