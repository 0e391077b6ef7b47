"""The OpenAPI document: every route is in it, and what it says holds together."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from msgspec import Struct
from quart import Blueprint, Response
from quart_schema.openapi import QUART_SCHEMA_HIDDEN_ATTRIBUTE

from notifyd.api.describe import ANYONE, USER, Answer, describe, description_of
from notifyd.api.models import Models
from notifyd.api.openapi import SECURITY_SCHEMES, build_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Api

Document = dict[str, Any]


@pytest.fixture
def api(failing_api: Callable[[Exception], Api]) -> Api:
    return failing_api(RuntimeError())


@pytest.fixture
async def document(api: Api) -> Document:
    found: Document = (await api.call("GET", "/openapi.json")).json
    return found


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def resolved(document: Document, value: Document) -> Document:
    while "$ref" in value:
        at: Any = document
        for key in value["$ref"].removeprefix("#/").split("/"):
            at = at[key]
        value = at
    return value


def test_every_route_is_described_or_hidden(api: Api) -> None:
    neither = [
        str(rule)
        for rule in api.app.url_map.iter_rules()
        for function in [api.app.view_functions[rule.endpoint]]
        if description_of(function) is None and not getattr(function, QUART_SCHEMA_HIDDEN_ATTRIBUTE, False)
    ]
    assert neither == [], "say what it is with @describe, or that it is no call of the API with @hide"


def test_describing_changes_no_route(api: Api) -> None:
    for function in api.app.view_functions.values():
        if description_of(function) is not None:
            assert not hasattr(function, "__wrapped__")
            assert inspect.iscoroutinefunction(function)


async def test_the_document_is_openapi_3_1(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)
    references = list(_references(document))
    assert len(references) > 100
    for reference in references:
        assert resolved(document, {"$ref": reference})


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


async def test_every_operation_is_complete(document: Document) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids = []
    for name, operation in operations(document):
        ids.append(operation["operationId"])
        assert operation["summary"], name
        assert set(operation["tags"]) <= tags, name
        assert {"500", "503"} <= set(operation["responses"]), name
        assert all(set(one) <= set(SECURITY_SCHEMES) for one in operation["security"]), name
        if operation["security"]:
            assert {"401", "403"} <= set(operation["responses"]), name
        for parameter in operation["parameters"]:
            assert parameter["description"], (name, parameter["name"])
            assert parameter["schema"], (name, parameter["name"])
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(operation["responses"]), name
            assert operation["requestBody"]["content"]["application/json"]["examples"], name
        for status, response in operation["responses"].items():
            assert resolved(document, response)["description"], (name, status)
    assert len(set(ids)) == len(ids)


async def test_every_example_is_what_its_schema_allows(document: Document) -> None:
    looked_at = 0
    for name, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        answers = [resolved(document, each) for each in operation["responses"].values()]
        for content in (each for part in (*bodies, *answers) for each in part.get("content", {}).values()):
            examples = [each["value"] for each in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            for example in examples:
                schema = {**content["schema"], "components": document["components"]}
                jsonschema_rs.Draft202012Validator(schema).validate(example)
                looked_at += 1
            assert examples, name
    assert looked_at > 50


# --- what is refused when a description is made --------------------------------------------------------


def _blueprint(**said: Any) -> Blueprint:
    bp = Blueprint("some", __name__)

    @bp.get("/some/<thing>")
    @describe("About", who=ANYONE, answers={200: Answer("Fine")}, **said)
    async def some(thing: str) -> Response:
        """Something."""
        raise AssertionError

    return bp


def test_a_path_variable_must_be_explained() -> None:
    with pytest.raises(ValueError, match="does not explain thing"):
        build_document([_blueprint()])
    document = build_document([_blueprint(path={"thing": "Any thing"})])
    operation = document["paths"]["/some/{thing}"]["get"]
    assert operation["parameters"][0]["description"] == "Any thing"
    assert operation["security"] == []
    assert set(operation["responses"]) == {"200", "400", "404", "431", "500", "503"}


def test_a_described_route_needs_a_docstring() -> None:
    bp = Blueprint("some", __name__)

    @bp.get("/some")
    @describe("About", who=USER, answers={200: Answer("Fine")})
    async def some() -> Response:
        raise AssertionError

    with pytest.raises(ValueError, match="no docstring"):
        build_document([bp])


def test_two_models_of_one_name_are_refused() -> None:
    def model(kind: type) -> type[Struct]:
        return type("Same", (Struct,), {"__annotations__": {"field": kind}})

    models = Models()
    models.refer(model(int))
    models.refer(model(int))
    with pytest.raises(ValueError, match="called Same"):
        models.refer(model(str))
