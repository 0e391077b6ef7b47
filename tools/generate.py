"""`make generate`: write the files that are made of the wire protocol's Structs.

    docs/messages.schema.json       JSON Schema of the messages, as served at /schema/messages.json
    clients/js/src/messages.d.ts    the same as TypeScript

With `--check` nothing is written: it names what is stale and exits with 1. A test does the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from notifyd.api.message_schema import message_schema
from tools.typescript import declarations

ROOT = Path(__file__).parent.parent


def generated() -> dict[Path, str]:
    """What each generated file should contain."""
    schema = message_schema()
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return {
        ROOT / "docs" / "messages.schema.json": text + "\n",
        ROOT / "clients" / "js" / "src" / "messages.d.ts": declarations(schema),
    }


def stale() -> list[Path]:
    """The files that differ from what they should contain, or are missing."""
    return [
        path for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write or check; the exit code."""
    found = stale()
    for path in found:
        print(f"{'stale' if '--check' in arguments else 'written'}: {path.relative_to(ROOT)}")
    if "--check" in arguments:
        return int(bool(found))
    texts = generated()
    for path in found:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
