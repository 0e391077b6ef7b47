"""JSON Schema of the wire protocol's messages, made from their Structs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from notifyd.api.fields import CursorId, Moment
from notifyd.api.models import Models, walk
from notifyd.errors import ErrorCode
from notifyd.messages import (
    CUSTOM_TYPE,
    PROTOCOL_VERSION,
    SERVER_TYPES,
    ClientMessage,
    MarkState,
    RecoveryReason,
    Severity,
    State,
)

if TYPE_CHECKING:
    from msgspec import Struct

_PLACE = "#/$defs/"
#: Types that are entries of the log and so have an `id`; `x-…` is one too.
_ENTRIES = frozenset({"deal-notification", "system-message", "job-completed", "notification-updated"})
#: Choices with a name of their own.
_CHOICES: dict[str, Any] = {
    "State": State,
    "MarkState": MarkState,
    "Severity": Severity,
    "RecoveryReason": RecoveryReason,
    "ErrorCode": ErrorCode,
}
#: Of these two members exactly one is there.
_ONE_OF_TWO = {"oneOf": [{"required": ["notification_ids"]}, {"required": ["up_to"]}]}


def message_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) whose `$defs` has every message, and every part of one, by name.

    `ServerMessage` is what a client hears, `ClientMessage` what it may say. Messages of the server may get
    more members in time, so none are forbidden.
    """
    models = Models(_PLACE)
    client = [models.refer(each) for each in get_args(ClientMessage)]
    for model in SERVER_TYPES.values():
        models.refer(model)
    server = {_name(model): _message(type_, model) for type_, model in SERVER_TYPES.items()}
    server["CustomMessage"] = _custom_message()
    definitions = {
        "ServerMessage": {"description": "What a client hears.", "anyOf": [_ref(name) for name in server]},
        "ClientMessage": {"description": "What a client may say.", "anyOf": client},
        **server,
        **_parts(models),
        "Cursor": models.inline(CursorId),
        "Timestamp": models.inline(Moment),
    }
    _name_choices(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:notifyd:messages:{PROTOCOL_VERSION}",
        "title": f"notifyd wire protocol, version {PROTOCOL_VERSION}",
        "anyOf": [_ref("ServerMessage"), _ref("ClientMessage")],
        "$defs": definitions,
    }


def _name(model: type[Struct]) -> str:
    """What the message is called whose `data` is `model`; `Error` would hide what all languages call so."""
    return model.__name__.replace("ErrorData", "ErrorMessage")


def _data_name(model: type[Struct]) -> str:
    return model.__name__.removesuffix("Data") + "Data"


def _parts(models: Models) -> dict[str, Any]:
    """The Structs that messages are made of; those that are `data` of a server's message end in `Data`."""
    data_names = {model.__name__: _data_name(model) for model in SERVER_TYPES.values()}
    parts = {data_names.get(name, name): schema for name, schema in models.components().items()}
    for name in data_names.values():
        # What has a default is always sent.
        members = parts[name]["properties"].items()
        parts[name]["required"] += [member for member, schema in members if "default" in schema]
    for name in ("NotificationUpdatedData", "MarkData"):
        parts[name] |= _ONE_OF_TWO
    return parts


def _message(type_: str, model: type[Struct]) -> dict[str, Any]:
    members = {"type": {"const": type_}, "data": _ref(_data_name(model)), "timestamp": _ref("Timestamp")}
    if type_ in _ENTRIES:
        members["id"] = _ref("Cursor")
    return {"type": "object", "properties": members, "required": list(members)}


def _custom_message() -> dict[str, Any]:
    members = {
        "type": {"type": "string", "pattern": f"^{CUSTOM_TYPE}$"},
        "data": {
            "type": "object",
            "properties": {"notification_id": {"type": "string"}},
            "required": ["notification_id"],
        },
        "timestamp": _ref("Timestamp"),
        "id": _ref("Cursor"),
    }
    return {
        "description": "A type of the application's own, with whatever the publisher put.",
        "type": "object",
        "properties": members,
        "required": list(members),
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _PLACE + name}


def _name_choices(definitions: dict[str, Any]) -> None:
    """Give the choices that have a name a definition, and single ones the keyword for them."""
    names = {frozenset(get_args(choice)): name for name, choice in _CHOICES.items()}
    for each in list(walk(definitions)):
        values = each.get("enum", ())
        if len(values) == 1:
            each["const"] = each.pop("enum")[0]
        elif frozenset(values) in names:
            each["$ref"] = _PLACE + names[frozenset(values)]
            del each["enum"]
        elif frozenset(values) - {None} in names:
            name = names[frozenset(values) - {None}]
            del each["enum"]
            each["anyOf"] = [_ref(name), {"type": "null"}]
    definitions.update({name: {"enum": list(get_args(choice))} for name, choice in _CHOICES.items()})
