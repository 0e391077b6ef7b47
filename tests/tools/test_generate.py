"""Files that are made of others are what they would be made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifyd.api.message_schema import message_schema
from tools import generate
from tools.typescript import declarations

if TYPE_CHECKING:
    from pathlib import Path


def test_no_generated_file_is_stale() -> None:
    assert generate.stale() == [], "run `make generate`"


def test_what_is_stale_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "stale: docs/messages.schema.json" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "clients/js/src/messages.d.ts").write_text("export {}")
    assert generate.main(["--check"]) == 1


def test_typescript_of_a_message_its_choices_and_its_exclusive_members() -> None:
    text = declarations(message_schema())
    assert (
        "export interface DealNotification {\n"
        '  type: "deal-notification";\n'
        "  data: DealNotificationData;\n"
        "  timestamp: Timestamp;\n"
        "  id: Cursor;\n"
        "}\n"
    ) in text
    assert "  store_id: number | string;\n" in text
    assert "  url?: string | null;\n" in text
    assert "type: `x-${string}`;" in text
    assert 'export type MarkState = "seen" | "read" | "archived";' in text
    assert (
        "({ notification_ids: string[]; up_to?: never } | { up_to: string; notification_ids?: never })"
        in text
    )


def test_what_has_no_typescript_is_an_error() -> None:
    with pytest.raises(ValueError, match="no TypeScript for"):
        declarations({"$defs": {"Odd": {"not": {}}}})
