"""The parts of the OpenAPI document that every operation shares."""

from http import HTTPStatus
from typing import Any

from serai.api.pages import LIMIT_DEFAULT, LIMIT_MAX, SORTS
from serai.api.versions import VersionRegistry

Json = dict[str, Any]

ERRORS = {
    400: "The request breaks a rule; the message names the field and the fix.",
    401: "No credential came with the request, or it is not valid here.",
    402: "A quota of the account or the workspace is used up.",
    403: "The credential may not do this.",
    404: "There is no such thing in this workspace.",
    409: "It exists already, or changed meanwhile, or this installation cannot do it.",
    413: "The body is larger than this server accepts.",
    429: "Too many requests; Retry-After says when to come back.",
    500: "Something went wrong on the server.",
    502: "What stands behind the platform failed.",
    503: "The server cannot do this at the moment.",
    504: "What stands behind the platform did not answer in time.",
}

PAGE_PARAMETERS = {
    "cursor": "Cursor",
    "limit": "Limit",
    "sort": "Sort",
    "q": "Search",
    "anchor": "Anchor",
    "status": "StatusFilter",
    "externalId": "ExternalId",
}
"""Query parameters of every paged list, and the names of their components."""


def parameters(header: str, versions: VersionRegistry) -> Json:
    """The shared parameters: version, workspace and pages."""
    names = [version.version for version in versions.versions]
    return {
        "Version": _parameter(
            header,
            {"type": "string", "enum": names, "default": versions.default},
            "The API version to answer in.",
            place="header",
        ),
        "Workspace": _parameter(
            "X-Blaxel-Workspace",
            {"type": "string"},
            "The workspace; may be left out when the credential reaches only one.",
            place="header",
        ),
        "Cursor": _parameter(
            "cursor",
            {"type": "string"},
            "nextCursor of the page before; good for 24 hours and the same query.",
        ),
        "Limit": _parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
            "Items of one page.",
        ),
        "Sort": _parameter("sort", {"type": "string", "enum": list(SORTS)}, "Order of the list."),
        "Search": _parameter(
            "q",
            {"type": "string", "minLength": 2},
            "Text to find in names, external ids and labels.",
        ),
        "Anchor": _parameter(
            "anchor", {"type": "string", "enum": ["start", "end"]}, "end asks for the last page."
        ),
        "ExternalId": _parameter("externalId", {"type": "string"}, "Only what has this id."),
        "StatusFilter": _parameter(
            "status", {"type": "string"}, "Statuses to show, separated by commas."
        ),
    }


def _parameter(name: str, schema: Json, text: str, place: str = "query") -> Json:
    return {"name": name, "in": place, "required": False, "schema": schema, "description": text}


def shared_schemas() -> Json:
    """Error bodies."""
    text, number = {"type": "string"}, {"type": "integer"}
    details = {"type": "object", "additionalProperties": True}
    error = {"error": text, "code": number, "message": text, "details": details}
    sandbox = {"code": text, "message": text, "status_code": number, "error": text}
    return {
        "Error": _object("An error of the management API.", error, ["error", "code", "message"]),
        "SandboxError": _object(
            "An error of creating a sandbox: its code is a word and its number status_code.",
            sandbox | {"details": details},
            ["code", "message", "status_code", "error"],
        ),
        "VersionError": _object(
            "The answer to an unknown API version.",
            {"error": text, "message": text},
            ["error", "message"],
        ),
    }


def _object(text: str, properties: Json, required: list[str]) -> Json:
    return {
        "type": "object",
        "description": text,
        "properties": properties,
        "required": required,
    }


def error_responses() -> Json:
    """One shared answer per error status, by the name of its component."""
    return {f"Error{status}": _error_response(status) for status in ERRORS}


def _error_response(status: int) -> Json:
    schema: Json = {"$ref": "#/components/schemas/Error"}
    if status == HTTPStatus.BAD_REQUEST:
        schema = {"anyOf": [schema, {"$ref": "#/components/schemas/VersionError"}]}
    content = {"application/json": {"schema": schema}}
    return {"description": ERRORS[status], "content": content}


def security_schemes(scopes: list[str]) -> Json:
    """How to authenticate; the OAuth flow is there when operations name scopes."""
    schemes: Json = {
        "ApiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, in Authorization or in X-Blaxel-Authorization.",
        }
    }
    if scopes:
        flow: Json = {"tokenUrl": "/v0/oauth/token", "scopes": {scope: scope for scope in scopes}}
        code = flow | {"authorizationUrl": "/v0/oauth/authorize", "refreshUrl": flow["tokenUrl"]}
        flows = {"authorizationCode": code, "clientCredentials": flow}
        schemes["OAuth2"] = {"type": "oauth2", "flows": flows}
    return schemes
