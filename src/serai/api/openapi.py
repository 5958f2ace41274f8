"""Our OpenAPI 3.1 document, made from the routes that are really registered."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from serai.api.contract import Operation
from serai.api.openapi_gateway import gateway_paths, gateway_schemas
from serai.api.openapi_parts import (
    ERRORS,
    PAGE_PARAMETERS,
    error_responses,
    parameters,
    security_schemes,
    shared_schemas,
)
from serai.api.openapi_schemas import Schemas
from serai.api.versions import HEADER, VersionRegistry

Json = dict[str, Any]
FORM = "application/x-www-form-urlencoded"
ABOUT = (
    "Serai's management, billing and inference API. Lists that are paged answer a bare array "
    "before the version named in x-serai-paged-since."
)


def document(operations: Sequence[Operation], versions: VersionRegistry, release: str) -> Json:
    """The whole document.

    Args:
        operations: as declared by the handlers, see ``contract.operations``.
        versions: known API versions, for the version header.
        release: of this software.
    """
    types = [kind for one in operations for kind in (one.body, one.error, *one.answers.values())]
    schemas = Schemas([*types, *(kind for one in operations for kind in one.query.values())])
    paths: Json = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Serai",
            "version": release,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"ApiKey": []}],
        "tags": [{"name": tag} for tag in _tags(operations)],
        "paths": paths | gateway_paths(),
        "components": {
            "schemas": schemas.components | shared_schemas() | gateway_schemas(),
            "parameters": parameters(HEADER, versions),
            "responses": error_responses(),
            "securitySchemes": security_schemes(_scopes(operations)),
        },
    }


def _tags(operations: Sequence[Operation]) -> list[str]:
    return [*sorted({one.tag for one in operations}), "inference"]


def _scopes(operations: Sequence[Operation]) -> list[str]:
    return sorted({scope for one in operations for scope in one.scopes})


def _operation(one: Operation, schemas: Schemas) -> Json:
    shown: Json = {
        "operationId": one.id,
        "summary": one.summary,
        "tags": [one.tag],
        "parameters": _parameters(one, schemas),
        "responses": _responses(one, schemas),
    }
    if one.body is not None:
        kinds = ["application/json", *([FORM] if one.form else [])]
        content = {kind: {"schema": schemas.of(one.body)} for kind in kinds}
        shown["requestBody"] = {"required": True, "content": content}
    if one.public:
        shown["security"] = []
    else:
        shown["security"] = [{"ApiKey": []}, {"OAuth2": list(one.scopes)}]
    if one.paged:
        shown["x-serai-paged-since"] = one.paged
    if not one.declared:
        shown["x-serai-undeclared"] = True
    return shown


def _parameters(one: Operation, schemas: Schemas) -> list[Json]:
    text = {"type": "string", "minLength": 1}
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in one.parameters
    ]
    shared = PAGE_PARAMETERS if one.paged else {}
    found += [_ref("parameters", name) for key, name in shared.items() if key not in one.query]
    found += [
        {"name": name, "in": "query", "required": False, "schema": schemas.of(kind)}
        for name, kind in one.query.items()
    ]
    if not one.public:
        found.append(_ref("parameters", "Workspace"))
    return [*found, _ref("parameters", "Version")]


def _responses(one: Operation, schemas: Schemas) -> Json:
    found: Json = {}
    for status, kind in one.answers.items():
        schema = schemas.page_of(kind) if one.paged else schemas.of(kind)
        found[str(status)] = _success(kind, schema, one.media)
    for status in one.errors:
        found[str(status)] = _error(one, status, schemas)
    return found


def _success(kind: Any, schema: Json, media: str) -> Json:
    headers = {"X-Request-Id": {"schema": {"type": "string"}}}
    answer: Json = {"description": "The answer.", "headers": headers}
    if kind is not None:
        is_stream = media == "text/event-stream"  # of events, which have no schema together
        answer["content"] = {media: {} if is_stream else {"schema": schema}}
    return answer


def _error(one: Operation, status: int, schemas: Schemas) -> Json:
    if one.error is not None and status == HTTPStatus.BAD_REQUEST:
        schema: Json = {"anyOf": [schemas.of(one.error), _ref("schemas", "VersionError")]}
        return {"description": ERRORS[status], "content": {"application/json": {"schema": schema}}}
    if one.method == "POST" and one.path.startswith("/v0/sandboxes") and one.path.count("/") <= 3:
        schema = {"anyOf": [_ref("schemas", "SandboxError"), _ref("schemas", "VersionError")]}
        content = {"application/json": {"schema": schema}}
        return {"description": ERRORS[status], "content": content}
    return _ref("responses", f"Error{status}")


def _ref(part: str, name: str) -> Json:
    return {"$ref": f"#/components/{part}/{name}"}
