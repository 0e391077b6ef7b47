"""F20 with few mails: what every run of the tests passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos import faults  # noqa: F401  (registers them)
from tests.chaos.run import FAULTS, Run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(240)
async def test_a_bad_mail_server_and_kills_lose_nothing(tmp_path: Path) -> None:
    run = Run("smtp", 40, 3, tmp_path, quiet=True)
    await FAULTS["smtp"].run(run)
    assert run.failures == []
    assert run.figures["kills"] >= 1  # on a slow machine all is sent before the second
    assert run.figures["troubles"] > 5
