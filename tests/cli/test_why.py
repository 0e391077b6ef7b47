from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from notifyd.cli import main
from notifyd.cli.options import OperatorsServer
from notifyd.cli.why import lines_of, why
from notifyd.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_operators_calls_go_where_the_settings_say(tmp_path: Path) -> None:
    settings = tmp_path / "notifyd.toml"
    settings.write_text('operator_listen = "127.0.0.1:9000"\nadmin_keys = "adm-1,adm-2"\n')
    server = OperatorsServer(config=settings)
    assert (server.address(), server.admin_key()) == ("http://127.0.0.1:9000", "adm-1")
    settings.write_text('listen = "127.0.0.1:9001"\nadmin_keys = "adm-1"\n')
    assert server.address() == "http://127.0.0.1:9001"
    given = OperatorsServer(url="http://[::1]:1", key="k", config=settings)
    assert (given.address(), given.admin_key()) == ("http://[::1]:1", "k")


def test_a_missing_key_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "ann", "n"]) == 2
    assert "admin_keys" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "unix:/nowhere/at/all"])
async def test_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(Unavailable, match="cannot reach"):
        await why("ann", "n", server=OperatorsServer(url=url, key="k"))


def test_lines_for_people() -> None:
    from notifyd.cli.why import _Connection, _Mail, _Step, _Trace

    at = "2026-01-31T12:00:00.250Z"
    told = _Trace(
        "n",
        "e-4",
        "x-a",
        "unread",
        [_Step("stored", at, "stored"), _Step("written", at, "written to a sse connection", "c")],
        [
            _Connection("c", "sse", at, "written"),
            _Connection("d", "sse", at, "not written", at, 4504, "too many connections"),
            _Connection("f", "sse", at, "not written", at, 4999),
        ],
        _Mail("this server sends no email"),
        ["it has expired"],
    )
    lines = lines_of(told)
    assert lines[0] == "n  x-a  e-4  unread"
    assert lines[1].endswith(":00.250  stored        stored")
    assert lines[2].endswith("written to a sse connection (c)")
    assert lines[3].endswith("c: written; still open")
    assert lines[4].endswith("(4504 too many connections)")
    assert lines[5].endswith("(4999)")
    assert lines[6:] == ["not mailed: this server sends no email", "not confirmed: it has expired"]
    mailed = lines_of(msgspec.structs.replace(told, mail=_Mail("to ann@shop.example", at)))[6]
    assert mailed.endswith(":00.250  mailed        to ann@shop.example")
