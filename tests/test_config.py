from __future__ import annotations

from pathlib import Path

import pytest

from notifyd.config import Config, load_config, parse_address, without_password
from notifyd.errors import ConfigError


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(__import__("os").environ):
        if name.startswith("NOTIFYD_"):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    config = load_config()
    assert (config.listen, config.database_url) == ("127.0.0.1:8000", "sqlite:///notifyd.db")
    assert (config.max_connections_per_user, config.drain_seconds, config.retention_days) == (10, 10, 30)
    assert config.allow_query_token


def test_flags_beat_the_environment_and_that_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("notifyd.toml").write_text('listen = "127.0.0.1:1"\nlog_level = "error"\ndrain_seconds = 3\n')
    monkeypatch.setenv("NOTIFYD_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("NOTIFYD_DRAIN_SECONDS", "4")
    config = load_config(listen="127.0.0.1:3", drain_seconds=None)
    assert (config.listen, config.drain_seconds, config.log_level) == ("127.0.0.1:3", 4, "error")


def test_a_file_can_be_named() -> None:
    Path("other.toml").write_text("trusted_hops = 2\n")
    assert load_config(Path("other.toml")).trusted_hops == 2
    with pytest.raises(ConfigError, match=r"missing\.toml: there is no such file"):
        load_config(Path("missing.toml"))
    Path("broken.toml").write_text("= 3")
    with pytest.raises(ConfigError, match=r"broken\.toml: "):
        load_config(Path("broken.toml"))
    with pytest.raises(ConfigError, match=r"/proc/self/mem: "):  # a file that nobody can read from its start
        load_config(Path("/proc/self/mem"))


def test_a_misspelt_setting_is_told_with_the_right_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("notifyd.toml").write_text("listne = 1\n")
    monkeypatch.setenv("NOTIFYD_JWT_SECRETS", "1")
    monkeypatch.setenv("NOTIFYD_BOGUS", "1")
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert str(caught.value).splitlines() == [
        "listne: there is no such setting; did you mean listen?",
        "NOTIFYD_BOGUS: there is no such setting",
        "NOTIFYD_JWT_SECRETS: there is no such setting; did you mean NOTIFYD_JWT_SECRET?",
    ]


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFYD_PUBLISH_KEYS", "first-key, second-key,")
    monkeypatch.setenv("NOTIFYD_ALLOWED_ORIGINS", "https://Shop.example,http://localhost:3000")
    config = load_config()
    assert [key.get_secret_value() for key in config.publish_keys] == ["first-key", "second-key"]
    assert config.allowed_origins == ("https://shop.example", "http://localhost:3000")


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("notifyd.toml").write_text("lissten = 1\ntrusted_hops = -1\n")
    monkeypatch.setenv("NOTIFYD_JWT_SECRET", "short")
    monkeypatch.setenv("NOTIFYD_NONSENSE", "1")
    monkeypatch.setenv("NOTIFYD_DATABASE_URL", "mysql://x")
    monkeypatch.setenv("NOTIFYD_ALLOWED_ORIGINS", "shop.example")
    with pytest.raises(ConfigError) as caught:
        load_config(listen="nowhere")
    text = str(caught.value)
    for part in (
        "lissten",
        "trusted_hops",
        "jwt_secret",
        "NOTIFYD_NONSENSE",
        "database_url",
        "allowed_origins",
        "listen",
    ):
        assert part in text
    assert "short" not in text.replace("needs", ""), "a secret is not repeated"
    assert len(text.splitlines()) == 7


def test_publishers_and_operators_have_their_own_keys() -> None:
    with pytest.raises(ConfigError, match="share a key"):
        load_config(publish_keys="one-key,two-key", admin_keys="two-key")


def test_secrets_are_not_shown() -> None:
    config = load_config(jwt_secret="s" * 32, publish_keys="very-secret")
    assert "very-secret" not in repr(config)
    assert "ssss" not in repr(config)


def test_it_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config().listen = "127.0.0.1:9"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:8000", ("127.0.0.1", 8000)), ("[::1]:0", ("::1", 0)), ("unix:/run/x.sock", "/run/x.sock")],
)
def test_addresses(text: str, expected: tuple[str, int] | str) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "8000", ":8000", "host:", "host:http", "host:70000", "unix:"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


def test_every_setting_has_a_description() -> None:
    named_by_their_values = {"log_level", "log_format"}
    assert [
        n for n, f in Config.model_fields.items() if not f.description and n not in named_by_their_values
    ] == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///notifyd.db", "sqlite:///notifyd.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://u@host/db?sslmode=require", "postgresql://u@host/db?sslmode=require"),
        ("postgresql://u:p%40ss:w@host/db", "postgresql://u:********@host/db"),
        ("postgresql://u:p@ss@host/db", "postgresql://u:********@host/db"),
        (
            "postgresql:///db?host=/run&password=x%26y&user=u",
            "postgresql:///db?host=/run&password=********&user=u",
        ),
    ],
)
def test_a_database_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
