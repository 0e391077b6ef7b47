"""The OpenAPI 3.1 document, by quart-schema from what `describe` says beside each route.

quart-schema walks the routes of an app that has the same blueprints but never serves a request, so nothing
of it runs on the way of one. What it cannot say (several Structs, bodies that are one of many, answers
without a body, errors, examples) the provider below adds.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from quart_schema import Info, QuartSchema
from quart_schema.openapi import OpenAPIProvider
from quart_trio import QuartTrio

from notifyd import __version__
from notifyd.api.describe import Answer, Description, Header, Tag, description_of
from notifyd.api.models import Models
from notifyd.api.problems import CONTENT_TYPE, Problem, problem
from notifyd.errors import HttpError, Unauthorized
from notifyd.messages import Id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from quart import Blueprint
    from werkzeug.routing import Rule
    from werkzeug.routing.converters import BaseConverter

TITLE = "notifyd"
ABOUT = """\
A notification server for deal alerts: one durable log, one cursor, any transport.

Bodies and answers are JSON. Times are ISO 8601 with a zone, prices are integers in minor units of their \
currency. Every error is a problem document (RFC 9457) whose `type` names the kind of error; a fault in the \
body or the query says its place in `path`. After a 503 asking again is safe, unless `outcome` is `unknown`: \
then repeat the call with the same `Idempotency-Key`.

A *cursor* (`<epoch>-<seq>`) is a place in the log. It means the same on WebSocket, SSE and HTTP: everything \
up to it was received. The messages themselves are described by `/schema/messages.json`."""

TAGS: dict[Tag, str] = {
    "Publishing": "Store notifications and take them back.",
    "Notifications": "What a user has: list, mark, acknowledge.",
    "Streams": "The live connections: WebSocket and server-sent events.",
    "Tickets": "One-use secrets for addresses that a browser can open but not add a header to.",
    "Watches": "What a user wants to be told of, and the rules.",
    "Prices": "Send prices; look at items and their history.",
    "Users": "What is known of users, and its erasure.",
    "Operating": "Health, metrics, statistics, and closing connections.",
    "About": "The descriptions of this API.",
}

SECURITY_SCHEMES = {
    "userToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A user's JWT, signed by the application with the configured secret.",
    },
    "accessTokenCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "accessToken",
        "description": "The same JWT as a cookie; it counts only with an allowed Origin.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "From `POST /v1/tickets`: one use within 30 seconds.",
    },
    "queryToken": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The JWT in the address, unless the server forbids it; every log leaves it out.",
    },
    "publishKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A publish key, or a JWT with the scope `notifications:write`.",
    },
    "adminKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An admin key, or a JWT with the scope `admin`.",
    },
}

_RETRY_AFTER = Header("Retry-After", "Seconds after which to ask again", {"type": "integer", "minimum": 1})
_AUTHENTICATE = Header("WWW-Authenticate", "RFC 6750 section 3: that a bearer token is needed")


def build_document(blueprints: Iterable[Blueprint]) -> dict[str, Any]:
    """The document of an app that serves `blueprints`, as plain JSON values. Takes some tens of milliseconds.

    Raises ValueError for a description that leaves something out.
    """
    app = QuartTrio("description", static_folder=None)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    schema = QuartSchema(
        app,
        openapi_path=None,
        info=Info(title=TITLE, version=__version__, description=ABOUT),
        conversion_preference="msgspec",
        openapi_provider_class=_Provider,
    )
    return schema.openapi_provider.schema()


class _Provider(OpenAPIProvider):
    """Adds to quart-schema's document what `describe` was told."""

    def schema(self) -> dict[str, Any]:
        self._models = Models()
        self._errors: dict[str, Any] = {}
        document = super().schema()
        paths = document["paths"]
        used = {tag for path in paths.values() for call in path.values() for tag in call["tags"]}
        schemes = {
            name
            for path in paths.values()
            for call in path.values()
            for one in call["security"]
            for name in one
        }
        document["tags"] = [{"name": name, "description": TAGS[name]} for name in TAGS if name in used]
        document["servers"] = [{"url": "/"}]
        document["paths"] = {path: paths[path] for path in sorted(paths)}
        document["components"] = {
            "schemas": self._models.components(),
            "responses": dict(sorted(self._errors.items())),
            "securitySchemes": {name: each for name, each in SECURITY_SCHEMES.items() if name in schemes},
        }
        return document

    def generate_rules(self) -> Iterable[Rule]:
        return [
            rule
            for rule in super().generate_rules()
            if description_of(self._app.view_functions[rule.endpoint]) is not None
        ]

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str | None:
        name = super().operation_id(method, path, func)
        return None if name is None else name.removeprefix(f"{method.lower()}_")

    def build_path_parameter(self, name: str, converter: BaseConverter) -> dict[str, Any]:
        return super().build_path_parameter(name, converter) | {"schema": self._models.inline(Id)}

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, components = super().build_paths(rule)
        function = self._app.view_functions[rule.endpoint]
        description = description_of(function)
        if description is None:
            raise ValueError(f"{rule.rule} is not described")
        for path in paths.values():
            for operation in path.values():
                self._complete(operation, description, rule.rule)
        return paths, components

    def _complete(self, operation: dict[str, Any], said: Description, where: str) -> None:
        if "summary" not in operation:
            raise ValueError(f"{where} has no docstring")
        text = _unwrap(operation.pop("description", ""))
        operation["summary"] = operation["summary"].rstrip(".")
        if text:
            operation["description"] = text
        for model in said.models:
            self._models.refer(model)
        if not said.who:
            operation["security"] = []
        operation["parameters"] = [
            *(_path_parameter(each, said, where) for each in operation["parameters"]),
            *self._query(said.query),
            *(_header_parameter(each) for each in said.headers),
        ]
        if said.body is not None:
            operation["requestBody"] = self._body(said)
        operation["responses"] = self._responses(said)

    # --- requests -----------------------------------------------------------------------------------------

    def _query(self, model: Any) -> Iterable[dict[str, Any]]:
        if model is None:
            return
        schema = self._models.inline(model)
        for name, given in schema.get("properties", {}).items():
            yield _query_parameter(name, dict(given), required=name in schema.get("required", ()))

    def _body(self, said: Description) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self._models.refer(said.body)}
        if said.examples:
            content["examples"] = {
                name.replace(" ", "-"): {"summary": name, "value": value}
                for name, value in said.examples.items()
            }
        return {"required": said.body_required, "content": {"application/json": content}}

    # --- answers ------------------------------------------------------------------------------------------

    def _responses(self, said: Description) -> dict[str, Any]:
        by_status: dict[int, list[type[HttpError]]] = {}
        for error in said.all_errors:
            by_status.setdefault(error.status, []).append(error)
        responses = {str(status): self._answer(answer) for status, answer in said.answers.items()}
        for status, errors in sorted(by_status.items()):
            if str(status) not in responses:
                responses[str(status)] = self._error_answer(errors)
        return responses

    def _answer(self, answer: Answer) -> dict[str, Any]:
        response: dict[str, Any] = {"description": answer.text}
        if answer.headers:
            response["headers"] = {each.name: _response_header(each) for each in answer.headers}
        if answer.model is not None:
            content: dict[str, Any] = {"schema": self._models.refer(answer.model)}
            if answer.example is not None:
                content["example"] = answer.example
            response["content"] = {answer.content_type: content}
            for content_type, example in answer.others.items():
                response["content"][content_type] = {"schema": {"type": "string"}, "example": example}
        return response

    def _error_answer(self, errors: Sequence[type[HttpError]]) -> dict[str, Any]:
        name = "Or".join(error.__name__ for error in errors).replace("HttpError", "InternalError")
        if name not in self._errors:
            self._errors[name] = self._error_response(errors)
        return {"$ref": f"#/components/responses/{name}"}

    def _error_response(self, errors: Sequence[type[HttpError]]) -> dict[str, Any]:
        titles = list(dict.fromkeys(error.title for error in errors))
        response: dict[str, Any] = {
            "description": "; ".join(titles) or HTTPStatus(errors[0].status).phrase,
            "content": {
                CONTENT_TYPE: {
                    "schema": self._models.refer(Problem),
                    "examples": {
                        error.slug: {"summary": error.title, "value": problem(error())} for error in errors
                    },
                }
            },
        }
        headers = []
        if any(error.retry_after_s is not None for error in errors):
            headers.append(_RETRY_AFTER)
        if Unauthorized in errors:
            headers.append(_AUTHENTICATE)
        if headers:
            response["headers"] = {each.name: _response_header(each) for each in headers}
        return response


def _unwrap(text: str) -> str:
    """Paragraphs of a docstring, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n") if part.strip())


def _path_parameter(parameter: dict[str, Any], said: Description, where: str) -> dict[str, Any]:
    text = said.path.get(parameter["name"])
    if text is None:
        raise ValueError(f"{where} does not explain {parameter['name']}")
    return {**parameter, "description": text}


def _query_parameter(name: str, schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """A query cannot say null, so a schema that also allows it is described without."""
    schema = without_null(schema)
    text = schema.pop("description", "")
    return {"name": name, "in": "query", "required": required, "description": text, "schema": schema}


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without null as a value or a default."""
    others = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
    if len(others) == 1:
        schema |= others[0]
    elif others:
        schema["anyOf"] = others
    if schema.get("default", "") is None:
        del schema["default"]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [each for each in schema["enum"] if each is not None]
    return schema


def _header_parameter(header: Header) -> dict[str, Any]:
    parameter = {"name": header.name, "in": "header", "required": False, "description": header.text}
    parameter["schema"] = dict(header.schema)
    return parameter if header.example is None else parameter | {"example": header.example}


def _response_header(header: Header) -> dict[str, Any]:
    return {"description": header.text, "schema": dict(header.schema)}
