"""Every table, as SQLAlchemy Core. Times are milliseconds since 1970, sizes bytes, money minor units.

`REVISION` names the migration that makes exactly these tables; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
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
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
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
    Index("ix_notifications_notification_id", "notification_id", "user_id"),
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

#: One row: the last numbers that prices and runs were given.
price_log = Table(
    "price_log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last_price_id", BigInteger, nullable=False),
    Column("last_run_id", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

#: `folded_name` is the name without case and accents, for searching; `named_ms` is when the price that
#: brought the name was observed.
items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("folded_name", Text, nullable=False),
    Column("named_ms", BigInteger, nullable=False),
)

#: What prices are compared within: one item in one store in one currency. `store_id` is JSON text, so that
#: 3 and "3" are two stores.
price_series = Table(
    "price_series",
    metadata,
    Column("series_id", RowId, primary_key=True),
    Column("item_id", Text, nullable=False),
    Column("store_id", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("store_name", Text, nullable=False),
    Column("named_ms", BigInteger, nullable=False),
    UniqueConstraint("item_id", "store_id", "currency"),
)

#: Numbered in the order in which they became known.
prices = Table(
    "prices",
    metadata,
    Column("price_id", RowId, primary_key=True, autoincrement=False),
    Column("series_id", BigInteger, nullable=False),
    Column("observed_ms", BigInteger, nullable=False),
    Column("price_in_cents", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger),
    Column("url", Text),
    Column("image_url", Text),
    UniqueConstraint("series_id", "observed_ms", "price_in_cents"),
)

#: A run is what one batch added: the prices numbered `first_price_id` to `last_price_id`. `meta` holds the
#: last one that the checker has dealt with.
price_runs = Table(
    "price_runs",
    metadata,
    Column("run_id", RowId, primary_key=True, autoincrement=False),
    Column("batch_id", Text, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("first_price_id", BigInteger, nullable=False),
    Column("last_price_id", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

#: Each publisher's last batch, so that sending it once more is safe.
price_batches = Table(
    "price_batches",
    metadata,
    Column("publisher", Text, primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

#: A changed watch is a new row with a `watch_key` that was never used, so that what was decided for the old
#: one cannot reach it. `stores` is a JSON list of ids, NULL for every store; `rule` is JSON, `measure` what
#: it compares prices with and `rule_limit` its limit (cents, or a drop in hundredths of a percent). Only
#: prices after `since_price_id` concern the watch.
watches = Table(
    "watches",
    metadata,
    Column("watch_key", RowId, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("watch_id", Text, nullable=False),
    Column("item_id", Text),
    Column("search", Text),
    Column("stores", Text),
    Column("rule", Text, nullable=False),
    Column("measure", Text, nullable=False),
    Column("rule_limit", BigInteger, nullable=False),
    Column("since_price_id", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("user_id", "watch_id"),
    Index("ix_watches_item_id_measure_rule_limit", "item_id", "measure", "rule_limit"),
    sqlite_autoincrement=True,
)

#: Rules that have fired and are not yet as good as new. `fired_ms` is when the price told last was observed.
watch_states = Table(
    "watch_states",
    metadata,
    Column("watch_key", RowId, ForeignKey("watches.watch_key", ondelete="CASCADE"), primary_key=True),
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("armed", Boolean, nullable=False),
    Column("told_in_cents", BigInteger, nullable=False),
    Column("fired_ms", BigInteger, nullable=False),
    Index("ix_watch_states_series_id", "series_id"),
)
