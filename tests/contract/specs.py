"""The contract as data, read from ``../shared/spec`` beside the checkout, and our own document."""

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Json = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")
PARAMETER = re.compile(r"{\w+}")
REPOSITORY = Path(__file__).parents[2]


class Route(NamedTuple):
    """A method and a path whose parameters have no names, below ``/v0``."""

    method: str
    path: str

    @classmethod
    def of(cls, method: str, path: str) -> "Route":
        """From a path with or without ``/v0``."""
        bare = path.removeprefix("/v0")
        return cls(method.upper(), PARAMETER.sub("{}", bare))

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class SdkOperation(NamedTuple):
    """A row of the operation table of the newest Python SDK."""

    name: str
    query: frozenset[str]
    body: str
    answers: dict[int, str]

    @property
    def plain(self) -> str:
        """The name as it compares to an operation id."""
        return self.name.replace("_", "").lower()


def spec_folder() -> Path | None:
    """The folder with the contract: beside the checkout, or beside any folder above it."""
    for folder in (REPOSITORY, *REPOSITORY.parents):
        found = folder.parent / "shared" / "spec"
        if (found / "controlplane.openapi.yml").exists():
            return found
    return None


@cache
def contract(folder: Path) -> Json:
    """The control plane's document."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with (folder / "controlplane.openapi.yml").open() as file:
        loaded: Json = yaml.load(file, Loader=loader)
    return loaded


@cache
def sdk_operations(folder: Path) -> dict[Route, SdkOperation]:
    """The control-plane operations of the newest Python SDK."""
    lines = (folder / "sdk-python-0.4.24-operations.tsv").read_text().splitlines()
    rows = (line.split("\t") for line in lines)
    return {
        Route.of(method, path): SdkOperation(
            name.partition("/")[2],
            frozenset(query.split(",")) - {""},
            body,
            {
                int(code): kind
                for code, _, kind in (part.partition(":") for part in answers.split())
            },
        )
        for plane, name, method, path, query, body, answers in rows
        if plane == "CP"
    }


def routes(document: Json) -> dict[Route, Json]:
    """The operations of a document, with its shared parameters resolved."""
    return {
        Route.of(method, path): shown
        for path, item in document["paths"].items()
        for method, shown in item.items()
        if method in METHODS
    }


def resolve(document: Json, node: Json) -> Json:
    """Follow references and merge ``allOf``."""
    while "$ref" in node:
        node = lookup(document, node["$ref"])
    if "allOf" not in node:
        return node
    merged: Json = {"type": "object", "properties": {}, "required": []}
    for part in (*node["allOf"], {k: v for k, v in node.items() if k != "allOf"}):
        part = resolve(document, part)
        merged["properties"] |= part.get("properties", {})
        merged["required"] += part.get("required", [])
        merged |= {k: v for k, v in part.items() if k not in {"properties", "required"}}
    return merged


def lookup(document: Json, reference: str) -> Json:
    """What a ``#/…`` reference names."""
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def query_of(document: Json, shown: Json) -> dict[str, Json]:
    """The query parameters of an operation, with the schema of each."""
    found = (resolve(document, parameter) for parameter in shown.get("parameters", []))
    return {one["name"]: one.get("schema", {}) for one in found if one["in"] == "query"}


def answers_of(document: Json, shown: Json) -> dict[int, Json | None]:
    """Success status to schema; ``None`` for an answer without one."""
    return {
        int(code): _schema(resolve(document, answer))
        for code, answer in shown["responses"].items()
        if code.startswith("2")
    }


def body_of(document: Json, shown: Json) -> Json | None:
    """The schema of an operation's request body."""
    return _schema(resolve(document, shown["requestBody"])) if "requestBody" in shown else None


def scopes_of(shown: Json) -> frozenset[str]:
    """The OAuth scopes that an operation names."""
    return frozenset(
        scope for choice in shown.get("security", []) for scope in choice.get("OAuth2", [])
    )


def _schema(node: Json) -> Json | None:
    for content in node.get("content", {}).values():
        schema: Json | None = content.get("schema")
        return schema
    return None
