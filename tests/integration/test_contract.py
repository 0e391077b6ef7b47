"""The running server and its own description agree, whatever Schemathesis sends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.service import Service

SETTINGS = Path(__file__).with_name("schemathesis.toml")
COMMAND = Path(sys.executable).with_name("schemathesis")
#: Enough to find what was ever found, few enough for every run of the tests.
EXAMPLES = 3
SEED = 20_260_131


@pytest.mark.timeout(240)
async def test_every_answer_is_a_described_one(
    service: Service, token: Callable[..., str], publish_key: str, admin_key: str, tmp_path: Path
) -> None:
    command = [str(COMMAND), "--config-file", str(SETTINGS), "run", f"{service.url}/openapi.json"]
    options = ["--seed", str(SEED), "--max-examples", str(EXAMPLES), "--no-color"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"PUBLISH_KEY": publish_key, "ADMIN_KEY": admin_key, "USER_TOKEN": token("ann")}
    run = await trio.run_process(
        [*command, *options],
        env=environment,
        cwd=tmp_path,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    told = run.stdout.decode()
    assert run.returncode == 0, "\n".join(line[:400] for line in told.splitlines())
