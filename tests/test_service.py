"""What a starting server says about its settings."""

from __future__ import annotations

import pytest
import structlog.testing

from notifyd.config import Config
from notifyd.service import _mention_gaps, page_address


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


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"listen": "0.0.0.0:8000"}, "http://127.0.0.1:8000"),
        ({"tls_cert_file": "c", "tls_key_file": "k"}, "https://127.0.0.1:8000"),
        ({"public_url": "https://deals.example/"}, "https://deals.example"),
        ({"listen": "unix:/run/notifyd"}, "http://localhost"),
    ],
)
def test_where_links_in_mail_lead(settings: dict[str, str], address: str) -> None:
    assert page_address(Config.model_validate(settings)) == address
