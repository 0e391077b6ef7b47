"""The inbox: everything that is written to the log, and how a user reads it back.

records.py   what goes in and what comes out
preparing.py a publication checked and encoded
writer.py    the one task that writes: group commit, its deadlines and failures
group.py     what one group does in its transaction
marking.py   marks and withdrawals, which are entries too
reading.py   resuming and listing
answering.py how long acknowledgements take
upkeep.py    acknowledgements and appearances once a second; retention
erasing.py   all that is stored of one user, deleted
outgoing.py  what applications published in transactions of their own, moved into the log
inbox.py     `Inbox`, the whole of it; `open_inbox`, which owns the writer's task

Imports the store and messages; knows neither the broker nor any transport.
"""

from notifyd.inbox.erasing import erase_user
from notifyd.inbox.inbox import Inbox, open_inbox
from notifyd.inbox.outgoing import Mover
from notifyd.inbox.records import (
    InboxDistributions,
    InboxStatistics,
    Listed,
    Listing,
    Publication,
    Receipt,
    Resumption,
)

__all__ = [
    "Inbox",
    "InboxDistributions",
    "InboxStatistics",
    "Listed",
    "Listing",
    "Mover",
    "Publication",
    "Receipt",
    "Resumption",
    "erase_user",
    "open_inbox",
]
