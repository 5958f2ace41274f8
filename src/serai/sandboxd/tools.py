"""Tools for MCP clients: what they are called, what they take, what they give."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from serai.sandboxd.errors import Unprocessable

I = TypeVar("I", bound=msgspec.Struct)  # noqa: E741
Schema = dict[str, Any]


class Tool(Generic[I]):
    """One tool. ``run`` gets checked arguments and gives a Struct of the output type."""

    def __init__(
        self,
        name: str,
        description: str,
        takes: type[I],
        gives: type[msgspec.Struct],
        run: Callable[[I], Awaitable[msgspec.Struct]],
    ) -> None:
        self.name = name
        self._description = description
        self._takes = takes
        self._gives = gives
        self._run = run

    def describe(self) -> Mapping[str, object]:
        """The tool as ``tools/list`` shows it."""
        return {
            "name": self.name,
            "description": self._description,
            "inputSchema": schema_of(self._takes),
            "outputSchema": schema_of(self._gives),
        }

    async def call(self, arguments: object) -> msgspec.Struct:
        """Run it.

        Raises:
            Unprocessable: when the arguments do not fit, naming the one at fault.
        """
        try:
            checked = msgspec.convert({} if arguments is None else arguments, self._takes)
        except msgspec.ValidationError as error:
            raise Unprocessable(f'validating "arguments": {error}') from error
        return await self._run(checked)


@functools.cache  # shared by all forks
def schema_of(kind: type[msgspec.Struct]) -> Schema:
    """The JSON schema of a Struct, with nothing but what MCP clients look at."""
    return _schema(inspect.type_info(kind))


def _schema(kind: inspect.Type) -> Schema:
    if isinstance(kind, inspect.Metadata):
        return _schema(kind.type) | (kind.extra_json_schema or {})
    if isinstance(kind, inspect.UnionType):
        return _nullable(kind)
    if isinstance(kind, inspect.StructType):
        return _object(kind)
    if isinstance(kind, inspect.ListType):
        return {"type": "array", "items": _schema(kind.item_type)}
    if isinstance(kind, inspect.DictType):
        return {"type": "object", "additionalProperties": _schema(kind.value_type)}
    names: dict[type, str] = {
        inspect.StrType: "string",
        inspect.BoolType: "boolean",
        inspect.IntType: "integer",
        inspect.FloatType: "number",
        inspect.LiteralType: "string",
    }
    return {"type": names[type(kind)]}


def _nullable(kind: inspect.UnionType) -> Schema:
    [inner] = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    schema = _schema(inner)
    return schema | {"type": ["null", schema["type"]]}


def _object(kind: inspect.StructType) -> Schema:
    schema: Schema = {"type": "object"}
    required = [field.encode_name for field in kind.fields if field.required]
    if required:
        schema["required"] = required
    if kind.fields:
        schema["properties"] = {field.encode_name: _schema(field.type) for field in kind.fields}
    return schema | {"additionalProperties": False}
