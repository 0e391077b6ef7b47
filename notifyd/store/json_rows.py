"""Many values in one text: JSON that the database turns into rows, and rows that it turns into JSON.

The rows of a batch, the keys of a question and the rows of a long answer travel as one parameter or one
result. The database parses and builds them in a single step, without the GIL; row by row, a thread would
give the GIL away and wait for it at each. This is the one place that knows how each database spells it.
"""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from sqlalchemy import BigInteger, Boolean, Text, bindparam, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy import CTE, Select, Subquery
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine

    from notifyd.store.base import Transaction

T = TypeVar("T")

TEXT = Text()
INT = BigInteger()
BOOL = Boolean()


class _Elements(FunctionElement[Any]):
    """The elements of a JSON array, one a row, in the column `value`."""

    inherit_cache = True
    name = "json_elements"


class _Item(FunctionElement[Any]):
    """The item of a JSON array at an index."""

    inherit_cache = True
    name = "json_item"


def rows_of(parameter: str, **columns: TypeEngine[Any]) -> Subquery:
    """The rows in the bound `parameter`, a JSON array of arrays; `columns` name and type the inner items."""
    each = _Elements(bindparam(parameter, type_=TEXT)).table_valued("value", name=f"{parameter}_json")
    items = [
        _item(each.c.value, index, type_).label(name) for index, (name, type_) in enumerate(columns.items())
    ]
    return select(*items).subquery(f"given_{parameter}")


def values_of(parameter: str, **column: TypeEngine[Any]) -> Subquery:
    """The values in the bound `parameter`, a JSON array of texts or integers; `column` names and types them.

    That saves what it costs to take each from an array of its own, a third of a microsecond.
    """
    [(name, type_)] = column.items()
    each = _Elements(bindparam(parameter, type_=TEXT)).table_valued("value", name=f"{parameter}_json")
    return select(_plain(each.c.value, type_).label(name)).subquery(f"given_{parameter}")


def parsed_rows_of(parameter: str, **columns: TypeEngine[Any]) -> CTE:
    """Like `rows_of`, for rows whose columns are looked at many times each: they are parsed only once.

    Otherwise SQLite would parse a row of `parameter` again wherever one of its columns is mentioned.
    """
    rows = rows_of(parameter, **columns)
    return select(*rows.c).cte(f"parsed_{parameter}").prefix_with("MATERIALIZED")


def _plain(value: Any, type_: TypeEngine[Any]) -> _Plain:
    plain = _Plain(value)
    plain.type = type_
    return plain


def _item(value: Any, index: int, type_: TypeEngine[Any]) -> _Item:
    item = _Item(value, literal_column(str(index), type_))  # typed, so that the type is part of the cache key
    item.type = type_
    return item


class _Plain(FunctionElement[Any]):
    """An element of a JSON array that is no array, as it is."""

    inherit_cache = True
    name = "json_plain"


@compiles(_Plain, "sqlite")
def _plain_sqlite(element: _Plain, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Plain, "postgresql")
def _plain_postgresql(element: _Plain, compiler: SQLCompiler, **options: Any) -> str:
    item = f"{compiler.process(element.clauses, **options)} #>> '{{}}'"
    return f"CAST({item} AS {compiler.dialect.type_compiler_instance.process(element.type)})"


@compiles(_Elements, "sqlite")
def _elements_sqlite(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_Elements, "postgresql")
def _elements_postgresql(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_array_elements(CAST({compiler.process(element.clauses, **options)} AS jsonb))"


@compiles(_Item, "sqlite")
def _item_sqlite(element: _Item, compiler: SQLCompiler, **options: Any) -> str:
    value, index = element.clauses
    return f"json_extract({compiler.process(value, **options)}, '$[{compiler.process(index, **options)}]')"


@compiles(_Item, "postgresql")
def _item_postgresql(element: _Item, compiler: SQLCompiler, **options: Any) -> str:
    value, index = element.clauses
    item = f"{compiler.process(value, **options)} ->> {compiler.process(index, **options)}"
    return f"CAST({item} AS {compiler.dialect.type_compiler_instance.process(element.type)})"


class _Together(FunctionElement[str]):
    """All rows as one JSON array of arrays, in no particular order; NULL or `[]` when there are none."""

    inherit_cache = True
    name = "json_together"
    type = TEXT


class _TogetherWhere(_Together):
    """The same of some rows; the first clause is the condition."""

    inherit_cache = True
    name = "json_together_where"


def together(*columns: Any, where: Any = None) -> _Together:
    """What to select so that all rows come as one JSON text: one step of the database, however many rows.

    The rows are in no order; with `where`, those that meet it. Fetch it with `json_of`, decode it with
    `records`.
    """
    return _Together(*columns) if where is None else _TogetherWhere(where, *columns)


def json_of(tx: Transaction, statement: Select[Any], parameters: dict[str, Any]) -> bytes:
    """The JSON array that a select of `together` gives."""
    text = tx.execute(statement, parameters).scalar_one()
    return b"[]" if text is None else text.encode()


def records(text: bytes | str, record: type[T]) -> list[T]:
    """The rows in a text of `json_of`, as NamedTuples."""
    # Not strict: booleans may come as numbers.
    found: list[T] = msgspec.json.decode(text, type=GenericAlias(list, record), strict=False)
    return found


@compiles(_Together, "sqlite")
def _together_sqlite(element: _Together, compiler: SQLCompiler, **options: Any) -> str:
    condition, columns = _parts(element, compiler, options)
    return f"json_group_array(json_array({columns})){condition}"


@compiles(_Together, "postgresql")
def _together_postgresql(element: _Together, compiler: SQLCompiler, **options: Any) -> str:
    condition, columns = _parts(element, compiler, options)
    return f"CAST(json_agg(json_build_array({columns})){condition} AS TEXT)"


def _parts(element: _Together, compiler: SQLCompiler, options: dict[str, Any]) -> tuple[str, str]:
    texts = [compiler.process(each, **options) for each in element.clauses]
    if isinstance(element, _TogetherWhere):
        return f" FILTER (WHERE {texts[0]})", ", ".join(texts[1:])
    return "", ", ".join(texts)


class _Document(FunctionElement[str]):
    """Bytes that hold a JSON document, as a document inside `together` and not as text."""

    inherit_cache = True
    name = "json_document"
    type = TEXT


def document(column: Any) -> _Document:
    """A column of JSON bytes, for `together`: decoded as `msgspec.Raw` it gives the same bytes."""
    return _Document(column)


@compiles(_Document, "sqlite")
def _document_sqlite(element: _Document, compiler: SQLCompiler, **options: Any) -> str:
    return f"json(CAST({compiler.process(element.clauses, **options)} AS TEXT))"


@compiles(_Document, "postgresql")
def _document_postgresql(element: _Document, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(convert_from({compiler.process(element.clauses, **options)}, 'UTF8') AS json)"
