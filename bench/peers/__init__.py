"""Other servers that do the same work, to measure notifyd against. `make bench-peers` installs them.

Each is started by its `command`, prints `READY <client port> <publish port>` (on 127.0.0.1) and then sends
the one payload of the given size to every connected client, once for each `publish` it gets. README.md in
this folder says what each does and why it is set so; `python -m bench.peers` proves that they do it.
"""

from bench.peers.peer import MARK, TRIGGER, Peer, payload
from bench.peers.registry import PEERS

__all__ = ["MARK", "PEERS", "TRIGGER", "Peer", "payload"]
