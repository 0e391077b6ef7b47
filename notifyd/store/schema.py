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
    UniqueConstraint,
)
from sqlalchemy import Text as AnyText

REVISION = "0003"

#: SQLite makes a column its row id, and so its fastest index, only when its type reads INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")

#: Texts are compared by code points, as SQLite does, whatever order of letters the database is set to: both
#: list alike, and an update of the system's locales cannot put an index out of order.
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")

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
    Column("created_ms", BigInteger, nullable=False),  # by `Transaction.steady_ms`
    Index("ix_idempotency_created_ms", "created_ms"),
)

#: What is known of one user. A notification is at least seen, read or archived when its seq is not above
#: the mark of that name; announcements up to `appeared_seq` (the head when the user was first met) are at
#: least seen. `floor`: own entries up to it may have been trimmed. `ack_*`: the newest seq that one of the
#: user's connections has confirmed. `bounced_email`: the address to which mail is refused for ever. The rest
#: is what publishers say, last at `profile_ms`.
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
    Column("email", Text),
    Column("locale", Text),
    Column("time_zone", Text),
    Column("profile_ms", BigInteger),
    Column("bounced_email", Text),
)

#: Users who were erased: of their row in `users` only the floor is left, until nothing of the log is as old.
erased_users = Table(
    "erased_users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("erased_ms", BigInteger, nullable=False),
)

#: Tokens that are refused; `until_ms` is when they have expired anyway, NULL for ever.
revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("token_id", Text, primary_key=True),
    Column("until_ms", BigInteger),
)

#: Users whose tokens of before a moment are refused. The row outlives the user's erasure: it keeps their old
#: tokens from making them anew.
revoked_users = Table(
    "revoked_users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("not_before_ms", BigInteger, nullable=False),
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

# --- the ledger -------------------------------------------------------------------------------------

#: Each connection that had a stream, and each that was refused one (`start_seq` NULL). It was given what
#: lies after `start_seq`; when it had ended the kernel had taken everything up to `end_seq` (NULL: not known,
#: the server had ended first). In between it kept up with `dispatches`, but for its `connection_marks`.
connections = Table(
    "connections",
    metadata,
    Column("connection_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("transport", Text, nullable=False),
    Column("connected_ms", BigInteger, nullable=False),
    Column("start_seq", BigInteger),
    Column("closed_ms", BigInteger),
    Column("close_code", Integer),
    Column("end_seq", BigInteger),
    Index("ix_connections_user_id_connected_ms", "user_id", "connected_ms"),
    Index("ix_connections_closed_ms", "closed_ms"),
)

#: How far a connection was at moments when it did not keep up (`behind`), and when it did so again.
connection_marks = Table(
    "connection_marks",
    metadata,
    Column(
        "connection_id", Text, ForeignKey("connections.connection_id", ondelete="CASCADE"), primary_key=True
    ),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("behind", Boolean, nullable=False),
)

#: By when everything up to `seq` had been offered to every connection that kept up; a row a second at most.
dispatches = Table(
    "dispatches",
    metadata,
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
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

#: The folded words of each item's name.
item_words = Table(
    "item_words",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("word", Text, primary_key=True),
    Index("ix_item_words_word_item_id", "word", "item_id"),
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
    Column("word_count", Integer, nullable=False),
    Column("stores", Text),
    Column("rule", Text, nullable=False),
    Column("measure", Text, nullable=False),
    Column("rule_limit", BigInteger, nullable=False),
    Column("since_price_id", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("user_id", "watch_id"),
    sqlite_autoincrement=True,
)

#: The items that each watch concerns, one by its id or all whose names have its words, with what it waits
#: for there: the index by which a run of prices finds its watches. Kept when items are named and watches set.
watch_items = Table(
    "watch_items",
    metadata,
    Column("watch_key", RowId, ForeignKey("watches.watch_key", ondelete="CASCADE"), primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("measure", Text, nullable=False),
    Column("rule_limit", BigInteger, nullable=False),
    Index("ix_watch_items_item_id_measure_rule_limit", "item_id", "measure", "rule_limit"),
)

#: The folded words that a watch looks for: beginnings of words in an item's name.
watch_words = Table(
    "watch_words",
    metadata,
    Column("watch_key", RowId, ForeignKey("watches.watch_key", ondelete="CASCADE"), primary_key=True),
    Column("word", Text, primary_key=True),
    Index("ix_watch_words_word_watch_key", "word", "watch_key"),
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

#: When the last deal of a notification ends, where all of its deals do: then it is withdrawn unless read.
deal_ends = Table(
    "deal_ends",
    metadata,
    Column("notification_id", Text, primary_key=True),
    Column("ends_ms", BigInteger, nullable=False),
    Index("ix_deal_ends_ends_ms", "ends_ms"),
)

# --- telling those who are not there ----------------------------------------------------------------

#: What users want by mail: JSON of preferences.Preferences.
preferences = Table(
    "preferences",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

#: One notification to be told to one user by one channel (`mail`, or `webhook:PUBLISHER`), written in the
#: notification's own transaction. At `due_ms` it is decided on again (`waits_for` says what it waits for,
#: NULL: it is new); afterwards `due_ms` is NULL and either `message_id` names what it went into, or `reason`
#: says why it did not.
deliveries = Table(
    "deliveries",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("channel", Text, primary_key=True),
    Column("due_ms", BigInteger),
    Column("waits_for", Text),
    Column("reason", Text),
    Column("message_id", Text),
    Column("decided_ms", BigInteger),
    Index("ix_deliveries_due_ms", "due_ms"),
    Index("ix_deliveries_message_id", "message_id"),
    Index("ix_deliveries_seq", "seq"),
)

#: Announcements that have yet to become deliveries of everybody with an address after `after_user`.
announcements = Table(
    "announcements",
    metadata,
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("after_user", Text, nullable=False),
)

#: What is sent: one mail, or one call of a webhook. `status`: waiting, sent, dead, dropped. Whoever sends it
#: holds a lease until `lease_ms` under the number `fence`; what a former holder reports is not believed.
outbox = Table(
    "outbox",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger),
    Column("lease_ms", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Column("ended_ms", BigInteger),
    Index("ix_outbox_due_ms", "due_ms"),
    Index("ix_outbox_status_ended_ms", "status", "ended_ms"),
    Index("ix_outbox_user_id", "user_id"),
)

#: Where publishers want to be told of users who were not reached; with `every`, of all they notify.
webhooks = Table(
    "webhooks",
    metadata,
    Column("publisher", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("every", Boolean, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

#: Random keys of the server's own, drawn when they are first needed.
server_keys = Table(
    "server_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
