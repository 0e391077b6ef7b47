"""A few hundred hostile connections on every run; `make fuzz` sends a hundred thousand."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.fuzz.campaign import run
from tests.fuzz.inputs import attack, mutated
from tests.fuzz.server import serving

if TYPE_CHECKING:
    from pathlib import Path


async def test_nobody_notices_strangers(tmp_path: Path) -> None:
    with serving(tmp_path) as target:
        outcome = await run(target, 1000, seed=20)
    assert outcome.faults == []
    assert outcome.attacks == 1000
    assert outcome.told == 3


def test_an_attack_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    assert attack(Random(1), "t") == attack(Random(1), "t")
    assert len({b"".join(attack(Random(seed), "t")) for seed in range(200)}) > 150
    assert sum(mutated(Random(seed), b"x" * 50) != b"x" * 50 for seed in range(100)) > 60
