"""`make fuzz`: hostile connections against a server of its own; 1 when anybody else noticed them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.fuzz import floods
from tests.fuzz.campaign import run
from tests.fuzz.server import serving


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="connections")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where to keep the server's log")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="notifyd-fuzz-") as folder, serving(Path(folder)) as target:
        print("flood                    cut after   grew by   victim's p99", flush=True)
        for each in trio.run(floods.run, target):
            row = f"{each.cut_s:8.2f} s {each.grown_mib:5.1f} MiB {each.victim_p99_ms:9.1f} ms"
            print(f"{each.name:22} {row}", flush=True)
        print(f"{given.n} connections, seed {given.seed}", flush=True)
        outcome = trio.run(run, target, given.n, given.seed)
        if given.log is not None:
            given.log.write_bytes(target.log.read_bytes())
    print(f"{outcome.attacks} connections in {outcome.seconds:.0f} s")
    memory = (outcome.rss_before, outcome.rss_half_way, outcome.rss_after)
    before, half_way, after = (size / 2**20 for size in memory)
    print(f"memory {before:.1f} MiB before, {half_way:.1f} MiB half way, {after:.1f} MiB after")
    print(f"descriptors {outcome.descriptors_before} before, {outcome.descriptors_after} after")
    print(f"the victim was told {outcome.told} times; the slowest took {outcome.slowest_s * 1000:.0f} ms")
    for fault in outcome.faults:
        print("FAULT:", fault)
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
