"""What a starting server says about its settings."""

from __future__ import annotations

import structlog.testing

from notifyd.config import Config
from notifyd.service import _mention_gaps


def test_a_server_that_nobody_can_use_says_so() -> None:
    with structlog.testing.capture_logs() as lines:
        _mention_gaps(Config.model_validate({}), ())
    assert [line["log_level"] for line in lines] == ["warning", "warning"]
    assert "no jwt_secret" in lines[0]["event"]
    assert "no publish_keys" in lines[1]["event"]


def test_a_configured_server_only_names_unchecked_claims() -> None:
    config = Config.model_validate({"jwt_secret": "x" * 32, "publish_keys": "a-key"})
    with structlog.testing.capture_logs() as lines:
        _mention_gaps(config, ("aud",))
        _mention_gaps(config, ())
    assert [(line["log_level"], line["claims"]) for line in lines] == [("info", ["aud"])]
