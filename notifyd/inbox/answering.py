"""How long it takes from a commit until a client has confirmed what it brought, by samples."""

from __future__ import annotations

from bisect import bisect_left

from notifyd.meters import ANSWERING_S, Histogram

#: Commits that come within this many seconds are noted as one.
SAME_S = 0.005
#: Commits noted at once; the older half is forgotten when there are more.
MAX_NOTED = 8192


class Answering:
    """Feeds on watermarks: of all that a user confirms between two flushes, the newest counts once.

    Moments are monotonic seconds.
    """

    def __init__(self, head: int, now: float) -> None:
        self.seconds = Histogram(ANSWERING_S)
        self._heads = [head]
        self._moments = [now]
        self._newest: dict[str, tuple[int, float]] = {}

    def committed(self, head: int, now: float) -> None:
        """The log has grown to `head`."""
        if now - self._moments[-1] < SAME_S and len(self._heads) > 1:
            self._heads[-1] = head
            return
        self._heads.append(head)
        self._moments.append(now)
        if len(self._heads) > MAX_NOTED:
            del self._heads[: MAX_NOTED // 2], self._moments[: MAX_NOTED // 2]

    def confirmed(self, user_id: str, seq: int, now: float) -> None:
        """One of the user's connections has received everything up to `seq`, and said so of itself."""
        known = self._newest.get(user_id)
        if known is None or known[0] < seq:
            self._newest[user_id] = seq, now

    def flush(self) -> None:
        """Count what came since the last time. A commit that is no longer noted is left out."""
        for seq, now in self._newest.values():
            index = bisect_left(self._heads, seq)
            if 0 < index < len(self._heads):
                self.seconds.observe(now - self._moments[index])
        self._newest.clear()
