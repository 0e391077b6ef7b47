"""JSON Schema to TypeScript declarations: the part of JSON Schema that the messages use, and no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
// The messages of notifyd's wire protocol. Do not edit: `make generate` writes this file.
"""
_SIMPLE = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_PREFIX = "#/$defs/"


def declarations(schema: dict[str, Any]) -> str:
    """An exported type for each of the schema's `$defs`. Raises ValueError for what it cannot express."""
    return "\n".join([_HEAD, *(_declaration(name, each) for name, each in schema["$defs"].items())])


def _declaration(name: str, schema: dict[str, Any]) -> str:
    comment = _comment(schema, "")
    if schema.get("type") == "object" and "oneOf" not in schema:
        return f"{comment}export interface {name} {_members(schema, '')}\n"
    return f"{comment}export type {name} = {_type(schema, '')};\n"


def _type(schema: dict[str, Any], indent: str) -> str:
    match schema:
        case {"$ref": str(target)}:
            return target.removeprefix(_PREFIX)
        case {"const": value}:
            return json.dumps(value)
        case {"enum": [*values]}:
            return " | ".join(json.dumps(value) for value in values)
        case {"anyOf": [*choices]}:
            return " | ".join(_type(choice, indent) for choice in choices)
        case {"type": "array", "items": items}:
            inner = _type(items, indent)
            return f"({inner})[]" if " | " in inner else f"{inner}[]"
        case {"type": "object", "oneOf": [*choices]}:
            return _exclusive(schema, choices, indent)
        case {"type": "object"}:
            return _members(schema, indent)
        case {"type": "string", "pattern": str(pattern)} if pattern.startswith("^x-"):
            return "`x-${string}`"
        case {"type": str(simple)} if simple in _SIMPLE:
            return _SIMPLE[simple]
    raise ValueError(f"no TypeScript for {schema}")


def _exclusive(schema: dict[str, Any], choices: list[dict[str, Any]], indent: str) -> str:
    """An object of which exactly one of `choices`, each a list of required members, is there."""
    of_choice = {name for choice in choices for name in choice["required"]}
    common = {name: each for name, each in schema["properties"].items() if name not in of_choice}
    alternatives = []
    for choice in choices:
        chosen = {name: schema["properties"][name] for name in choice["required"]}
        others = [f"{name}?: never" for name in schema["properties"] if name in of_choice - set(chosen)]
        members = [f"{name}: {_type(each, indent)}" for name, each in chosen.items()]
        alternatives.append("{ " + "; ".join(members + others) + " }")
    base = _members({"properties": common, "required": schema["required"]}, indent)
    return f"{base} & ({' | '.join(alternatives)})"


def _members(schema: dict[str, Any], indent: str) -> str:
    properties = schema.get("properties", {})
    if not properties:
        return "{}"
    lines = list(_member_lines(schema, properties, indent + "  "))
    # Only the one kind of message that an application defines has members that nobody here knows.
    if set(properties) == {"notification_id"}:
        lines.append(f"{indent}  [name: string]: unknown;")
    return "\n".join(["{", *lines, indent + "}"])


def _member_lines(schema: dict[str, Any], properties: dict[str, Any], indent: str) -> Iterator[str]:
    for name, each in properties.items():
        mark = "" if name in schema["required"] else "?"
        comment = _comment(each, indent)
        if comment:
            yield comment.rstrip("\n")
        yield f"{indent}{name}{mark}: {_type(each, indent)};"


def _comment(schema: dict[str, Any], indent: str) -> str:
    text = schema.get("description")
    return "" if text is None else f"{indent}/** {text} */\n"
