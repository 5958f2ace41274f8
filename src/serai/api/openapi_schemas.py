"""JSON Schemas of the public shapes.

Absent means absent here: a field that is ``None`` is never sent, so ``null`` and its default
disappear from the schemas.
"""

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from serai.wire.common import PageMeta

Json = dict[str, Any]
REFERENCE = "#/components/schemas/"


class Schemas:
    """The schemas of a set of types.

    ``components`` are those of the Structs among them, by name; pages are added when asked for.
    """

    def __init__(self, kinds: Iterable[Any]) -> None:
        wanted: list[Any] = [PageMeta]
        wanted += [kind for kind in kinds if kind is not None and kind not in wanted]
        found, components = msgspec.json.schema_components(
            wanted, schema_hook=_unknown, ref_template=REFERENCE + "{name}"
        )
        self._known = [(kind, _tidy(schema)) for kind, schema in zip(wanted, found, strict=True)]
        self.components = {name: _tidy(schema) for name, schema in sorted(components.items())}

    def of(self, kind: Any) -> Json:
        """The schema of one of the types."""
        if kind is None:
            return {}
        return next(schema for known, schema in self._known if known == kind)

    def page_of(self, kind: Any) -> Json:
        """The page of a list: ``list[Agent]`` becomes ``AgentList``; pages stay what they are."""
        schema = self.of(kind)
        if schema.get("type") != "array":
            return schema
        name = schema["items"].get("$ref", "").removeprefix(REFERENCE) + "List"
        self.components[name] = {
            "type": "object",
            "description": "One page of a list.",
            "properties": {"data": schema, "meta": {"$ref": REFERENCE + "PageMeta"}},
            "required": ["data", "meta"],
        }
        return {"$ref": REFERENCE + name}


def _unknown(kind: type[Any]) -> Json:
    """What msgspec cannot describe may be anything."""
    return {}


def _tidy(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        return _tidy_union(schema)
    tidied = {key: _tidy_part(key, value) for key, value in schema.items() if _said(key, value)}
    if "description" in tidied and isinstance(tidied["description"], str):
        tidied["description"] = inspect.cleandoc(tidied["description"])
    return tidied


def _tidy_part(key: str, value: Any) -> Any:
    """Below ``properties`` the keys are names of fields, not of the schema language."""
    if key == "properties":
        return {name: _tidy(part) for name, part in value.items()}
    return value if key in {"enum", "default", "required"} else _tidy(value)


def _said(key: str, value: Any) -> bool:
    if key == "required":
        return bool(value)
    return not (key == "default" and value is None) and not (
        key == "title" and isinstance(value, str)
    )


def _tidy_union(schema: Json) -> Json:
    parts: list[Json] = [_tidy(part) for part in schema["anyOf"] if part != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and _said(key, value)}
    if len(parts) == 1:
        return parts[0] | rest
    return rest | {"anyOf": parts}
