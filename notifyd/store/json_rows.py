"""Many values in one parameter: a JSON array that the database itself turns into rows.

The rows of a batch, or the keys of a question, travel as one text. Parsing it happens inside the database's
step, without the interpreter's lock, where `executemany` would hold it once for every row. This is the one
place that knows how each database spells it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Text, bindparam, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy import Subquery
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine

TEXT = Text()
INT = BigInteger()


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
    return select(*items).subquery(parameter)


def _item(value: Any, index: int, type_: TypeEngine[Any]) -> _Item:
    item = _Item(value, literal_column(str(index), type_))  # typed, so that the type is part of the cache key
    item.type = type_
    return item


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
