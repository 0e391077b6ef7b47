"""Which items a search means: all of its words begin words of the item's name. Folding is done by Python and
comparing by code points, so every database finds the same.

Links between watches and items are kept both when a watch is set and when an item gets its name, so that a
run of prices finds the watches of an item without looking at any words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, delete, distinct, exists, func, insert, select

from notifyd.messages import encode_json
from notifyd.store.folding import beyond
from notifyd.store.json_rows import INT, TEXT, rows_of
from notifyd.store.schema import item_words, items, watch_items, watch_words, watches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select

    from notifyd.store.base import Transaction

# --- from words to items ----------------------------------------------------------------------------

_wanted = rows_of("words", word=TEXT, beyond=TEXT)

#: The ids of the items that a search means; bind what `matching_parameters` gives.
matching: Select[Any] = (
    select(item_words.c.item_id)
    .join_from(
        _wanted,
        item_words,
        and_(item_words.c.word >= _wanted.c.word, item_words.c.word < _wanted.c.beyond),
    )
    .group_by(item_words.c.item_id)
    .having(func.count(distinct(_wanted.c.word)) == bindparam("word_count", type_=INT))
)


def matching_parameters(words: Sequence[str]) -> dict[str, Any]:
    """What `matching` needs to find the items whose names have words beginning with each of `words`."""
    return {
        "words": encode_json([(word, beyond(word)) for word in words]).decode(),
        "word_count": len(words),
    }


# --- from items to watches --------------------------------------------------------------------------

_names = rows_of("items", item_id=TEXT, name=TEXT)
_given = rows_of("words", item_id=TEXT, word=TEXT)
_prefixes = rows_of("prefixes", word=TEXT, prefix=TEXT)
#: A name that came too late to be the item's name has no say.
_named = select(_names.c.item_id).where(
    exists().where(items.c.item_id == _names.c.item_id, items.c.name == _names.c.name)
)
_forget_words = delete(item_words).where(item_words.c.item_id.in_(_named))
_add_words = insert(item_words).from_select(
    ["item_id", "word"], select(_given).where(_given.c.item_id.in_(_named))
)
_forget_links = delete(watch_items).where(
    watch_items.c.item_id.in_(_named),
    exists().where(watches.c.watch_key == watch_items.c.watch_key, watches.c.search.is_not(None)),
)
_hits = (
    select(_prefixes.c.word, watch_words.c.watch_key, watch_words.c.word.label("wanted"))
    .join_from(_prefixes, watch_words, watch_words.c.word == _prefixes.c.prefix)
    .distinct()  # they are so anyway; it makes SQLite find them once, and index what it joins them with
    .subquery("hits")
)
_has = select(item_words).where(item_words.c.item_id.in_(_named)).distinct().subquery("has")
_add_links = insert(watch_items).from_select(
    ["watch_key", "item_id", "measure", "rule_limit"],
    select(watches.c.watch_key, _has.c.item_id, watches.c.measure, watches.c.rule_limit)
    .join_from(_has, _hits, _hits.c.word == _has.c.word)
    .join(watches, watches.c.watch_key == _hits.c.watch_key)
    .group_by(
        watches.c.watch_key,
        _has.c.item_id,
        watches.c.measure,
        watches.c.rule_limit,
        watches.c.word_count,
    )
    .having(func.count(distinct(_hits.c.wanted)) == watches.c.word_count),
)


def replace(tx: Transaction, names: str, words: str, prefixes: str) -> None:
    """Items have got names: keep their words, and link them to the watches that look for such.

    All are JSON arrays of arrays: `names` of item_id and name (and more), `words` of item_id and word,
    `prefixes` of each of these words and each of its beginnings.
    """
    tx.execute(_forget_words, {"items": names})
    tx.execute(_add_words, {"items": names, "words": words})
    tx.execute(_forget_links, {"items": names})
    tx.execute(_add_links, {"items": names, "prefixes": prefixes})


# --- from a watch to items --------------------------------------------------------------------------

_link_item = insert(watch_items).from_select(
    ["watch_key", "item_id", "measure", "rule_limit"],
    select(watches.c.watch_key, watches.c.item_id, watches.c.measure, watches.c.rule_limit).where(
        watches.c.watch_key == bindparam("key", type_=INT), watches.c.item_id.is_not(None)
    ),
)
_meant = matching.subquery("meant")
_link_words = insert(watch_items).from_select(
    ["watch_key", "item_id", "measure", "rule_limit"],
    select(watches.c.watch_key, _meant.c.item_id, watches.c.measure, watches.c.rule_limit).join_from(
        _meant, watches, watches.c.watch_key == bindparam("key", type_=INT)
    ),
)


def link(tx: Transaction, watch_key: int, words: Sequence[str]) -> None:
    """Link a watch that was just stored to its item, or to those that `words` mean."""
    if not words:
        tx.execute(_link_item, {"key": watch_key})
        return
    rows = [(watch_key, word) for word in words]
    tx.insert_rows(watch_words, ("watch_key", "word"), rows)
    tx.execute(_link_words, {"key": watch_key} | matching_parameters(words))
