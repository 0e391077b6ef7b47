"""`python -m notifyd`, and the `notifyd` command."""

from __future__ import annotations

import sys

from notifyd.cli import main

if __name__ == "__main__":
    sys.exit(main())
