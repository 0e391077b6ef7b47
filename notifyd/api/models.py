"""msgspec types as JSON Schema, gathered into the components of one document."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where the components of an OpenAPI document stand.
COMPONENTS = "#/components/schemas/"


class Models:
    """Collects types as they are referred to; `components` then holds the schema of each Struct once.

    A Struct is named by its class, without a leading underscore. Two with the same name are an error, since
    readers could not tell them apart. `place` is where references point.
    """

    def __init__(self, place: str = COMPONENTS) -> None:
        self._place = place
        self._components: dict[str, Any] = {}

    def refer(self, model: Any) -> dict[str, Any]:
        """A schema of `model`, with references to its Structs; of one of several when it is a tuple."""
        if isinstance(model, tuple):
            return {"anyOf": [self.refer(each) for each in model]}
        schema, components = self._schema(model)
        for name, component in components.items():
            if self._components.setdefault(name, component) != component:
                raise ValueError(f"two different models are called {name}")
        return schema

    def inline(self, model: Any) -> dict[str, Any]:
        """The schema of `model` itself; it must refer to no other Struct."""
        schema, components = self._schema(model)
        if "$ref" not in schema:
            return schema
        return dict(components[schema["$ref"].removeprefix(self._place)])

    def components(self) -> dict[str, Any]:
        """The schemas of all Structs that were referred to, by name."""
        return dict(sorted(self._components.items()))

    def _schema(self, model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        template = self._place + "{name}"
        (schema,), components = msgspec.json.schema_components([model], ref_template=template)
        named = {public_name(name): _tidy(component) for name, component in components.items()}
        if len(named) != len(components):
            raise ValueError(f"two models within {model} have the same name")
        for each in walk([schema, *named.values()]):
            if "$ref" in each:
                each["$ref"] = self._place + public_name(each["$ref"].removeprefix(self._place))
        return schema, named


def public_name(name: str) -> str:
    """What a Struct with the class name `name` is called in a document."""
    return name.lstrip("_")


def _tidy(component: dict[str, Any]) -> dict[str, Any]:
    """Without the title, which repeats the name, and with the docstring's lines joined."""
    component.pop("title", None)
    if "description" in component:
        component["description"] = " ".join(inspect.cleandoc(component["description"]).split())
    return component


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within `value`."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from walk(each)
