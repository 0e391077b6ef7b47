"""`python -m bench [NAME] [--quick] [--json]`."""

from __future__ import annotations

import argparse
import json
import sys

from bench import append, fanout
from bench.report import Row, table

BENCHES = {"fanout": fanout, "append": append}


def main() -> int:
    """Run what was asked for; exit status 1 when a goal was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure notifyd against the limits of this machine.",
        epilog="example: python -m bench fanout --quick",
    )
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES), help="one bench; all when left out")
    parser.add_argument("--quick", action="store_true", help="a short run, at most half a minute each")
    parser.add_argument("--json", action="store_true", help="rows as JSON on standard output")
    asked = parser.parse_args()
    rows: list[Row] = []
    for name in [asked.name] if asked.name else BENCHES:
        print(f"{name}: {(BENCHES[name].__doc__ or '').splitlines()[0]}", file=sys.stderr)
        rows += BENCHES[name].run(quick=asked.quick, say=lambda text: print(f"  {text}", file=sys.stderr))
    print(json.dumps({"rows": [row._asdict() for row in rows]}, indent=1) if asked.json else table(rows))
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
