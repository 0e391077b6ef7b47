"""What the demo keeps in its folder, and who may read it."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from notifyd.demo.folder import demo_config, free_port, open_folder
from notifyd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_port_secrets_and_progress_outlive_the_process(tmp_path: Path) -> None:
    with open_folder(tmp_path / "demo", port=18_123) as first:
        first.update(begun_ms=5, played=7)
        before = first.state
    with open_folder(tmp_path / "demo", port=18_123) as second:
        assert second.state == before
        assert second.state.played == 7


def test_fresh_begins_anew_and_deletes_only_what_is_the_demos(tmp_path: Path) -> None:
    with open_folder(tmp_path) as first:
        first.update(begun_ms=5, played=7)
        (tmp_path / "demo.db").write_bytes(b"old")
        (tmp_path / "holiday.jpg").write_bytes(b"dear")
        secret = first.state.jwt_secret
    with open_folder(tmp_path, fresh=True) as second:
        assert second.state.begun_ms is None
        assert second.state.played == -1
        assert second.state.jwt_secret != secret
    assert not (tmp_path / "demo.db").exists()
    assert (tmp_path / "holiday.jpg").read_bytes() == b"dear"


def test_nobody_else_can_read_the_secrets(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.update(played=1)
    assert (tmp_path / "demo.json").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "demo.new").exists()


def test_a_second_demo_in_the_folder_is_refused_and_told_where_the_first_is(tmp_path: Path) -> None:
    with open_folder(tmp_path, port=18_123):
        with pytest.raises(ConfigError, match=r"already at http://127\.0\.0\.1:18123"), open_folder(tmp_path):
            raise AssertionError("opened twice")
        with pytest.raises(ConfigError), open_folder(tmp_path, fresh=True):
            raise AssertionError("cleared under its feet")
        assert (tmp_path / "demo.json").exists()


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{}")
    with pytest.raises(ConfigError, match="--fresh"), open_folder(tmp_path):
        raise AssertionError("opened")


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--folder"), open_folder(tmp_path / "file" / "demo"):
        raise AssertionError("opened")


def test_a_taken_port_is_left_to_its_owner(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as owner:
        taken = owner.getsockname()[1]
        assert free_port(taken) != taken
        with open_folder(tmp_path, port=taken) as folder:
            assert folder.state.port == taken  # asked for by name: the service says that it is taken
        with open_folder(tmp_path) as folder:
            assert folder.state.port != taken
    assert free_port(taken) == taken


def test_the_surroundings_do_not_change_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notifyd.toml").write_text('jwt_audience = "elsewhere"')
    monkeypatch.setenv("NOTIFYD_LISTEN", "0.0.0.0:1")
    with open_folder(tmp_path / "demo", port=18_123) as folder:
        config = demo_config(folder)
    assert config.listen == "127.0.0.1:18123"
    assert config.jwt_audience is None
    assert config.database_url == f"sqlite:///{tmp_path / 'demo' / 'demo.db'}"
