from __future__ import annotations

import json
import logging

import pytest
import structlog

from notifyd.logs import configure_logging


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("x").info("hello", user="ann\nbob")
    structlog.get_logger("x").debug("not this")
    [line] = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["user"], event["level"]) == ("hello", "ann\nbob", "info")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_hidden(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", log_format)
    log = structlog.get_logger("x").bind(token="canary-1")
    log.info("login", ticket="canary-2", authorization="Bearer canary-3")

    def fails(secret: str) -> None:
        raise ValueError("it failed")

    argument = "-".join(("canary", "4"))
    try:
        fails(argument)
    except ValueError:
        log.exception("fault")
    written = capsys.readouterr().err
    assert "fault" in written
    assert "it failed" in written
    assert "canary" not in written


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_libraries_warn_in_the_same_form(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", log_format)
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("beware")
    [line] = capsys.readouterr().err.splitlines()
    assert "beware" in line
    if log_format == "json":
        assert json.loads(line)["level"] == "warning"
