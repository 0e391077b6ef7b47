"""Runs what the documents show: console blocks in real terminals, files as they stand there.

A fenced block is `console`, or `<language> <file name>` for a file shown whole. Behind `console` stand the
name of its terminal (one is the default) and `stays` when its last command goes on, like a server. Lines that
begin with `$ ` are commands, lines indented below them belong to them, all others are what is seen, with `…`
for what differs each time. A block without a command is what a command that stays shows next.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
#: Seconds after which a command of a document has failed; nothing is measured by it.
PATIENCE_S = 60.0
#: The address in the documents.
SHOWN = re.compile(r"\b(?:localhost|127\.0\.0\.1):8000\b")
_FENCE = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block: its language, the words behind that, and its text."""

    language: str
    words: tuple[str, ...]
    text: str

    @property
    def terminal(self) -> str:
        return next((word for word in self.words if word != "stays"), "")


class Step(NamedTuple):
    """A command, and the lines that it shows."""

    command: str
    shown: list[str]


def steps_of(block: Block) -> list[Step]:
    """The commands of a console block."""
    steps: list[Step] = []
    if "$ " not in block.text:
        return steps
    for line in block.text.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ "), []))
        elif line.startswith("    ") and not steps[-1].shown:
            steps[-1] = Step(f"{steps[-1].command}\n{line}", [])
        elif line:
            steps[-1].shown.append(line)
    return steps


class Document:
    """One Markdown file."""

    def __init__(self, path: str) -> None:
        text = (ROOT / path).read_text()
        self.blocks = [
            Block(match[1], tuple((match[2] or "").split()), match[3]) for match in _FENCE.finditer(text)
        ]

    def consoles(self) -> list[Block]:
        return [block for block in self.blocks if block.language == "console"]

    def file(self, name: str) -> str:
        """The only block that shows the file `name`."""
        (text,) = [block.text for block in self.blocks if name in block.words and block.language != "console"]
        return text


class Terminal:
    """A shell of its own; ended with all that it has started."""

    def __init__(self, folder: Path, env: dict[str, str], port: int) -> None:
        self.seen = ""
        self._read = 0  # how much of it a block has already asked for
        self._port = port
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGTERM)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        try:
            self._bash.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait(15)
        self._bash.stdout.close()

    def run(self, block: Block) -> None:
        """Every command in turn: it shows what the document says, and ends well unless it stays."""
        steps = steps_of(block)
        if not steps:
            self.expect([self._here(line) for line in block.text.splitlines()], self._read)
        for number, step in enumerate(steps, start=1):
            self.type(step, stays="stays" in block.words and number == len(steps))

    def start(self, command: str) -> None:
        """A command that is not in the document, and need not end."""
        self.type(Step(command, []), stays=True)

    def type(self, step: Step, *, stays: bool = False) -> None:
        begun = len(self.seen)
        end = f"@@{begun}@@"
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{self._here(step.command)}\nprintf '\\n{end}%s\\n' $?\n".encode())
        self._bash.stdin.flush()
        if not stays:
            self._until(lambda text: re.search(rf"^{end}\d+$", text, re.MULTILINE) is not None, step, begun)
            assert f"{end}0" in self.seen[begun:], f"{step.command} failed: {self.seen[begun:]}"
        self.expect([self._here(line) for line in step.shown], begun, step)

    def expect(self, lines: list[str], begun: int = 0, step: Step | None = None) -> None:
        """Wait until these lines have been seen in this order."""
        patterns = [".*".join(re.escape(part) for part in line.split("…")) for line in lines]
        pattern = re.compile(r"(?:.*\n)*?".join(rf"{pattern}\n" for pattern in patterns), re.MULTILINE)
        self._until(lambda text: pattern.search(text) is not None, step or Step("", lines), begun)
        match = pattern.search(self.seen, begun)
        assert match is not None
        self._read = match.end()

    def _until(self, done: Callable[[str], bool], step: Step, begun: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done(self.seen[begun:]):
            left = deadline - time.monotonic()
            if left <= 0 or not self._more(left):
                raise AssertionError(f"{step} has not come; seen: {self.seen[begun:]}")

    def _more(self, seconds: float) -> bool:
        assert self._bash.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._bash.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return True
        data = os.read(self._bash.stdout.fileno(), 65536)
        self.seen += data.decode()
        return bool(data)

    def _here(self, text: str) -> str:
        return SHOWN.sub(f"127.0.0.1:{self._port}", text)


class Desk:
    """The terminals of one document, all in one folder, with the address of one server."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.port = find_port()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYD_")} | {
            "NOTIFYD_LISTEN": f"127.0.0.1:{self.port}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }
        self._stack = stack
        self._terminals: dict[str, Terminal] = {}

    def terminal(self, name: str = "") -> Terminal:
        if name not in self._terminals:
            self._terminals[name] = self._stack.enter_context(Terminal(self.folder, self.env, self.port))
        return self._terminals[name]

    def here(self, text: str) -> str:
        """`text` with the address of this desk's server."""
        return SHOWN.sub(f"127.0.0.1:{self.port}", text)

    def write(self, name: str, text: str) -> Path:
        """A file of the document, its address being this desk's server."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(text))
        return path


def find_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def document() -> type[Document]:
    return Document


@pytest.fixture
def free_port() -> Callable[[], int]:
    return find_port


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    with ExitStack() as stack:
        yield Desk(tmp_path, stack)
