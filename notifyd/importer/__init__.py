"""Price files into a running server: `reading` finds records, `rows` understands them, `sending` posts them.

All parsing happens in the command's own process, a row at a time, so a file of any size needs little memory
and never costs the server a turn of its loop.
"""

from __future__ import annotations

from notifyd.importer.rows import Spec, make_spec
from notifyd.importer.sending import Progress, Summary, import_prices

__all__ = ["Progress", "Spec", "Summary", "import_prices", "make_spec"]
