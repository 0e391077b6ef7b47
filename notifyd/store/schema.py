"""Every table, as SQLAlchemy Core. Times are milliseconds since 1970, sizes bytes, money minor units.

`REVISION` names the migration that makes exactly these tables; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0001"

#: SQLite makes a column its row id, and so its fastest index, only when its type reads INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# --- the log ----------------------------------------------------------------------------------------

#: One row: the name of this log's history, and its newest seq, which is also the lock of whoever writes.
meta = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Text, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("broadcast_floor", BigInteger, nullable=False),
    Column("checker_cursor", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

#: `state` is a rank of messages.STATE_RANK, NULL on `notification-updated` (which has no state and is not
#: listed). For everyone's entries it is only ever unread or withdrawn; each user's own view of those is in
#: `users` and `broadcast_states`. The first index answers every read of one user without touching rows
#: that are not shown, the unread count even without touching any row.
notifications = Table(
    "notifications",
    metadata,
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("notification_id", Text),
    Column("user_id", Text),
    Column("type", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("state", SmallInteger),
    Column("data", LargeBinary, nullable=False),  # last, so that reading the others never follows its pages
    Index("ix_notifications_user_id_seq", "user_id", "seq", "state", "expires_ms"),
    Index("ix_notifications_notification_id", "notification_id"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", Text, primary_key=True),
    Column("publisher", Text, primary_key=True),
    Column("body_hash", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("notification_id", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_idempotency_created_ms", "created_ms"),
)

#: What is known of one user. A notification is at least seen, read or archived when its seq is not above
#: the mark of that name; announcements up to `appeared_seq` (the head when the user was first met) are at
#: least seen. `floor`: own entries up to it may have been trimmed. `ack_*`: the newest seq that one of the
#: user's connections has confirmed.
users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("appeared_seq", BigInteger),
    Column("floor", BigInteger, nullable=False, server_default="0"),
    Column("seen_seq", BigInteger, nullable=False, server_default="0"),
    Column("read_seq", BigInteger, nullable=False, server_default="0"),
    Column("archived_seq", BigInteger, nullable=False, server_default="0"),
    Column("ack_seq", BigInteger, nullable=False, server_default="0"),
    Column("ack_ms", BigInteger),
    Column("ack_connection", Text),
)

#: Announcements that a user marked one by one.
broadcast_states = Table(
    "broadcast_states",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("state", SmallInteger, nullable=False),
    Index("ix_broadcast_states_seq", "seq"),
)

# --- prices and watches -----------------------------------------------------------------------------

items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("search", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", RowId, primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("batch_id"),
)

prices = Table(
    "prices",
    metadata,
    Column("price_id", RowId, primary_key=True),
    Column("run_id", BigInteger, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("store_id", Text, nullable=False),
    Column("store_name", Text, nullable=False),
    Column("price_in_cents", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("observed_ms", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger),
    Column("url", Text),
    Column("image_url", Text),
    UniqueConstraint("item_id", "store_id", "currency", "observed_ms", "price_in_cents"),
)

watches = Table(
    "watches",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("watch_id", Text, primary_key=True),
    Column("item_id", Text),
    Column("search", Text),
    Column("stores", Text),
    Column("rule", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("ix_watches_item_id", "item_id"),
)

watch_states = Table(
    "watch_states",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("watch_id", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("store_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
)
