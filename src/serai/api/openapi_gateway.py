"""The inference operations: the gateway serves them itself, so no route handler declares them."""

from typing import Any

Json = dict[str, Any]

TARGETS = {
    "models": ("Model", "Call a model; the path after it is the provider's, such as v1/models."),
    "sandboxes": ("Sandbox", "Call the API inside a sandbox, or with port/{n}/ a port of it."),
}
"""First the noun of the operation id, then what a call does."""

ERRORS = {
    401: "No credential, or one that is not valid here.",
    403: "The credential does not reach this workspace, or a policy forbids the call.",
    404: "The path names nothing that can be called.",
    429: "Too many requests or tokens; Retry-After says when to come back.",
    502: "The target could not be reached, or broke off.",
    503: "The target cannot be called at the moment.",
    504: "The target did not answer in time.",
}


def gateway_paths() -> Json:
    """Paths of the data plane, outside ``/v0``: one per kind of target, for GET and POST."""
    return {
        f"/{{workspace}}/{kind}/{{name}}/{{path}}": {
            method: _call(kind, verb + noun, text)
            for method, verb in (("get", "Query"), ("post", "Call"))
        }
        for kind, (noun, text) in TARGETS.items()
    }


def _call(kind: str, operation_id: str, text: str) -> Json:
    anything: Json = {"*/*": {"schema": {}}}
    shown: Json = {
        "operationId": operation_id,
        "summary": text,
        "tags": ["inference"],
        "parameters": [_path(name) for name in ("workspace", "name", "path")],
        "responses": {
            "default": {"description": "The answer of the target, untouched.", "content": anything}
        },
        "x-serai-kind": kind,
    }
    if operation_id.startswith("Call"):
        shown["requestBody"] = {"required": False, "content": anything}
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/GatewayError"}}}
    for status, text in ERRORS.items():
        shown["responses"][str(status)] = {"description": text, "content": failed}
    return shown


def gateway_schemas() -> Json:
    """The error envelope of the data plane."""
    text = {"type": "string"}
    inner: Json = {
        "code": text,
        "message": text,
        "status": {"type": "integer"},
        "origin": text,
        "retryable": {"type": "boolean"},
        "request_id": text,
    }
    error = {"type": "object", "properties": inner, "required": sorted(inner)}
    return {
        "GatewayError": {
            "type": "object",
            "description": "An error that the gateway itself answers, not the target.",
            "properties": {"error": error, "message": text},
            "required": ["error", "message"],
        }
    }


def _path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
