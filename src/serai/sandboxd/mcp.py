"""``/mcp``: the sandbox as an MCP server, over streamable HTTP without sessions.

Every message is one POST and every answer one JSON object, so nothing is kept between calls
and standby loses nothing. What is said follows the Model Context Protocol, 2024-11-05 to
2025-11-25.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from serai import __version__
from serai.kernel.errors import BadRequest, PayloadTooLarge, SeraiError
from serai.sandboxd.http import Answer, Response, json_answer
from serai.sandboxd.paths import text
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.sandboxd.tools import Tool

BODY_LIMIT = 4 * 1024 * 1024
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS = -32700, -32600, -32601, -32602
_SERVER = {"name": "Sandbox API Server", "version": __version__}
_CAPABILITIES = {"logging": {}, "tools": {"listChanged": True}}
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_JSON = "application/json"
_encode = msgspec.json.Encoder().encode


class UnsupportedMediaType(SeraiError):
    """The body is of a type that is not understood here (415)."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"


class Fault(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class McpRoutes:
    """Handlers of ``/mcp``."""

    def __init__(self, tools: Iterable[Tool[Any]]) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._descriptions = [tool.describe() for tool in self._tools.values()]

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("POST", "/mcp", self.post)
        router.add("GET", "/mcp", self.listen)

    async def listen(self, request: Request) -> Answer:
        """There is nothing to listen to: the server never speaks first."""
        answer = json_answer(
            {"error": "SSE streaming not supported. Please use POST for MCP communication."}, 405
        )
        answer.headers = {"Allow": "POST"}
        return answer

    async def post(self, request: Request) -> Answer:
        """One message: a call is answered, anything else taken note of (202)."""
        message = await message_of(request)
        if isinstance(message, Response):
            return message
        if "id" not in message or "method" not in message:
            return Response(status=202, content_type=None)
        return await self._answer(message)

    async def _answer(self, message: Mapping[str, Any]) -> Answer:
        number = message["id"]
        try:
            if message.get("jsonrpc") != "2.0" or not isinstance(number, str | int):
                raise Fault(_INVALID_REQUEST, 'jsonrpc must be "2.0" and id text or a number')
            params = message.get("params")
            if params is not None and not isinstance(params, dict):
                raise Fault(_INVALID_PARAMS, "params must be an object")
            result = await self._handle(message["method"], params or {})
        except Fault as fault:
            return _fault(number, fault)
        return _plain({"jsonrpc": "2.0", "id": number, "result": result})

    async def _handle(self, method: object, params: Mapping[str, Any]) -> object:
        if method == "initialize":
            asked = params.get("protocolVersion")
            return {
                "protocolVersion": asked if asked in VERSIONS else VERSIONS[-1],
                "capabilities": _CAPABILITIES,
                "serverInfo": _SERVER,
            }
        if method == "ping":
            return {}
        if method == "logging/setLevel":
            if params.get("level") not in _LEVELS:
                raise Fault(_INVALID_PARAMS, f"level: one of {', '.join(_LEVELS)}")
            return {}
        if method == "tools/list":
            return {"tools": self._descriptions}
        if method == "tools/call":
            return await self._call(params)
        raise Fault(_NO_METHOD, f"method not found: {str(method)[:80]!r}")

    async def _call(self, params: Mapping[str, Any]) -> object:
        name = params.get("name")
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise Fault(_INVALID_PARAMS, f"unknown tool {json.dumps(name)[:80]}")
        try:
            result = await tool.call(params.get("arguments"))
        except SeraiError as error:
            return {"content": [_text(text(error.message))], "isError": True}
        encoded = _encode(result)
        return {"content": [_text(encoded.decode())], "structuredContent": msgspec.Raw(encoded)}


async def message_of(request: Request) -> dict[str, Any] | Response:
    """The one message of a POST, or what is answered when it is none.

    Raises:
        BadRequest: its headers are not those of this protocol.
        UnsupportedMediaType: its body is not said to be JSON.
        PayloadTooLarge: it is too large.
    """
    _check_headers(request)
    body = await _body(request)
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _fault(None, Fault(_PARSE_ERROR, f"parse error: {error}"), 400)
    if not isinstance(message, dict):
        problem = "one JSON-RPC object is expected, batches are not supported"
        return _fault(None, Fault(_INVALID_REQUEST, problem), 400)
    return message


def _check_headers(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise UnsupportedMediaType(f"Content-Type must be '{_JSON}', not '{kind[:60]}'")
    accept = request.headers.get("accept", "")
    if "*/*" not in accept and not (_JSON in accept and "text/event-stream" in accept):
        raise BadRequest(f"Accept must contain both '{_JSON}' and 'text/event-stream'")
    version = request.headers.get("mcp-protocol-version", "")
    if version and version not in VERSIONS:
        raise BadRequest(
            f"MCP-Protocol-Version: '{version[:40]}' is not spoken here, only {', '.join(VERSIONS)}"
        )


async def _body(request: Request) -> bytes:
    try:
        return await request.body(BODY_LIMIT)
    except PayloadTooLarge:
        raise PayloadTooLarge(f"a message may have {BODY_LIMIT} bytes") from None


def _text(value: str) -> Mapping[str, str]:
    return {"type": "text", "text": value}


def _plain(value: object, status: int = 200) -> Response:
    return Response(_encode(value), status, _JSON)


def _fault(number: object, fault: Fault, status: int = 200) -> Response:
    error = {"code": fault.code, "message": fault.message}
    return _plain({"jsonrpc": "2.0", "id": number, "error": error}, status)
