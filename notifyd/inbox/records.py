"""What goes into the inbox and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.messages import Cursor, Draft, RecoveryReason, State
    from notifyd.meters import Histogram
    from notifyd.store.base import Entry, LogPage


@dataclass(frozen=True)
class Publication:
    """What one publisher wants told.

    `user_ids` None is everyone; several users share one notification_id. `publisher` is the name of the
    key that was used, `body_hash` stands for the request when the same `idempotency_key` comes again.
    """

    draft: Draft
    user_ids: tuple[str, ...] | None
    publisher: str
    expires_in_s: float | None = None
    idempotency_key: str | None = None
    body_hash: bytes = b""


class Receipt(NamedTuple):
    """Stored and synced. `seq` is the last row's; `repeated`: an earlier request with this key stored it."""

    seq: int
    notification_id: str
    repeated: bool


class Listed(NamedTuple):
    """A notification and its current state for the user who asks."""

    entry: Entry
    state: State


@dataclass(frozen=True)
class Listing:
    """One page of a user's inbox, all of it read in one snapshot.

    `cursor`, by what was asked for:

    - `since`: where the next page begins. When nothing was left out it is the head of the snapshot, so a
      live stream that starts there continues without a gap.
    - neither: the head of the snapshot, for the same reason.
    - `before`: the oldest notification of the page, to be given as the next `before`; the asked-for
      `before` itself when the page is empty.

    `recovered` is False when the given cursor cannot be continued from, for `reason`; the page then starts
    over: from the oldest that is kept (`since`), or from the newest (`before`).
    """

    items: Sequence[Listed]
    cursor: Cursor
    unread: int
    recovered: bool
    reason: RecoveryReason | None


class Resumption(NamedTuple):
    """Where a stream starts: after `position`, which is the head when continuity is not proven.

    `page` is what follows there when the store had to be asked for the proof.
    """

    position: int
    recovered: bool
    reason: RecoveryReason | None
    page: LogPage | None = None


@dataclass(frozen=True)
class InboxStatistics:
    """Counts since the start, and what waits now. Times are milliseconds."""

    head: int
    queued: int  # requests that wait for the writer
    queue_size: int
    commits: int
    rows: int
    publications: int
    largest_group: int  # requests
    last_commit_ms: float
    slowest_commit_ms: float
    run_alone: int  # requests run alone after their group failed
    refused: int  # queue full, or waited too long: never written
    unknown: int  # answered "outcome unknown"
    failed_groups: int
    pending_acks: int
    trimmed: int  # rows that retention deleted


class InboxDistributions(NamedTuple):
    """Since the start. Times are seconds."""

    commit: Histogram  # one for each commit, fsync included
    group_sizes: Histogram  # requests that shared a commit
    acknowledged: Histogram  # from commit to acknowledgement, by samples
