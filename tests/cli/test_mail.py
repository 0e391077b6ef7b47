from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifyd.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "said"), [("a.eml", "Message-ID: <example@"), ("a.html", "<html"), ("a.txt", "Unsubscribe: ")]
)
def test_a_preview_is_written(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["preview-email", name, "--locale", "de-AT"]) == 0
    assert said in (tmp_path / name).read_text()


def test_own_templates_are_used_and_odd_names_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail.txt").write_text("mine: {{ subject }}")
    assert main(["preview-email", "a.txt", "--mail-templates", str(tmp_path)]) == 0
    assert (tmp_path / "a.txt").read_text().startswith("mine: ")
    assert main(["preview-email", "a.png"]) == 2
    assert "NAME.eml" in capsys.readouterr().err
