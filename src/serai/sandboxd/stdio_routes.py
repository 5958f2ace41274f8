"""``/stdio/{name}``: MCP servers on standard input and output, served over streamable HTTP.

Follows the Model Context Protocol, 2025-03-26 to 2025-11-25: ``initialize`` begins a session with
a process of its own, named by ``Mcp-Session-Id``; requests without a session share one process.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from serai.kernel.errors import BadRequest, Conflict, NotFound, ServiceUnavailable
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.http import Answer, Response, Stream, json_answer
from serai.sandboxd.mcp import message_of
from serai.sandboxd.paths import Paths
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.sandboxd.spawning import Reaper, Surroundings
from serai.sandboxd.stdio import Message, StdioCommand
from serai.sandboxd.stdio_sessions import Exchange, Session, StdioServer

CONFIG_LIMIT = 1024 * 1024
FIRST_SECONDS = 5.0
"""After so long without an answer the head of a stream is sent, so that nobody gives up."""
QUIET_SECONDS = 15.0
"""Between signs of life on a stream."""
SESSION = "mcp-session-id"
_EVENTS = "text/event-stream"
_JSON = "application/json"
_encode = msgspec.json.Encoder().encode
_config = msgspec.json.Decoder(StdioCommand)


class StdioRoutes:
    """Handlers of ``/stdio``."""

    def __init__(self, paths: Paths, surroundings: Surroundings, reaper: Reaper) -> None:
        self._paths, self._surroundings, self._reaper = paths, surroundings, reaper
        self._servers: dict[str, StdioServer] = {}

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("PUT", "/stdio/{name}", self.declare)
        router.add("GET", "/stdio/{name}", self.show)
        router.add("DELETE", "/stdio/{name}", self.drop)
        router.add("POST", "/stdio/{name}/probe", self.probe)
        router.add("GET", "/stdio/{name}/logs", self.logs)
        router.add("POST", "/stdio/{name}/mcp", self.post)
        router.add("GET", "/stdio/{name}/mcp", self.listen)
        router.add("DELETE", "/stdio/{name}/mcp", self.end)

    async def declare(self, request: Request) -> Answer:
        """Say how a server is started; conversations with an earlier one of that name end."""
        try:
            how = _config.decode(await request.body(CONFIG_LIMIT))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"invalid request body: {error}") from error
        if not how.command.strip():
            raise BadRequest("invalid request body: 'command' is empty")
        name = request.params["name"]
        if (earlier := self._servers.pop(name, None)) is not None:
            earlier.close_all()
            earlier.log.close()
        workdir = self._paths.workdir
        server = StdioServer(how, workdir, self._surroundings, self._reaper)
        self._servers[name] = server
        return _shown(name, server)

    async def show(self, request: Request) -> Answer:
        """How it is started, and how many conversations there are."""
        return _shown(request.params["name"], self._server(request))

    async def drop(self, request: Request) -> Answer:
        """End all conversations and forget it; answers when its processes have ended."""
        server = self._server(request)
        del self._servers[request.params["name"]]
        await server.ended()
        return _shown(request.params["name"], server)

    async def probe(self, request: Request) -> Answer:
        """Whether it is an MCP server: what it answers to ``initialize``."""
        try:
            _, answer = await self._server(request).shared()
        except ServiceUnavailable as error:
            raise Unprocessable(error.message) from error
        return json_answer(answer["result"])

    async def logs(self, request: Request) -> Answer:
        """What its processes wrote that is no message, line by line, until it is dropped.

        ``since`` is how many lines the caller has had.
        """
        server = self._server(request)
        since = request.query.get("since", "0")
        if not since.isdecimal():
            raise BadRequest(f"since must be a number of lines, not {since[:40]!r}")
        return Stream(_log(server, int(since)), "text/plain; charset=utf-8")

    async def post(self, request: Request) -> Answer:
        """One message of a client."""
        message = await message_of(request)
        if isinstance(message, Response):
            return message
        server = self._server(request)
        if message.get("method") == "initialize" and "id" in message:
            session = server.open()
            answer = await _asked(session, message, request)
            answer.headers = answer.headers | {"Mcp-Session-Id": session.id}
            return answer
        session = await self._session(request, server)
        if "method" not in message or "id" not in message:
            await session.tell(message)
            return Response(status=202, content_type=None)
        return await _asked(session, message, request)

    async def listen(self, request: Request) -> Answer:
        """What a server says of itself."""
        server = self._server(request)
        if SESSION not in request.headers:
            answer = json_answer(
                {"error": "only a session can be listened to: initialize one"}, 405
            )
            answer.headers = {"Allow": "POST, DELETE"}
            return answer
        session = await self._session(request, server)
        if session.is_listening:
            raise Conflict("somebody listens to this session already")
        session.is_listening = True
        return Stream(_said(session), _EVENTS, release=lambda: _listens_no_more(session))

    async def end(self, request: Request) -> Answer:
        """End a session."""
        server = self._server(request)
        if SESSION not in request.headers:
            raise BadRequest("Mcp-Session-Id is missing: it names the session to end")
        server.close(await self._session(request, server))
        return Response(status=204, content_type=None)

    def _server(self, request: Request) -> StdioServer:
        server = self._servers.get(request.params["name"])
        if server is None:
            raise NotFound(f"no MCP server '{request.params['name'][:80]}' is declared here")
        return server

    async def _session(self, request: Request, server: StdioServer) -> Session:
        named = request.headers.get(SESSION)
        if named is None:
            return (await server.shared())[0]
        session = server.sessions.get(named)
        if session is None:
            raise NotFound("this session has ended: initialize a new one")
        return session


def _shown(name: str, server: StdioServer) -> Response:
    how = server.how
    return json_answer(
        {
            "name": name,
            "command": how.command,
            "workingDir": how.working_dir,
            "sessions": len(server.sessions),
        }
    )


async def _asked(session: Session, message: Message, request: Request) -> Response | Stream:
    """The answer to a request: JSON when it is the first that comes, else a stream."""
    exchange = await session.ask(message)
    streams = _EVENTS in request.headers.get("accept", "")
    while True:
        first = await exchange.next(FIRST_SECONDS)
        if first is not None and exchange.is_over:
            return Response(_encode(first), 200, _JSON)
        if streams:  # others hear the answer only
            events = _events(exchange, first)
            return Stream(events, _EVENTS, release=lambda: session.forget(exchange))


async def _events(exchange: Exchange, first: Message | None) -> AsyncIterator[bytes]:
    yield b": \n\n" if first is None else _event(first)
    while not exchange.is_over:
        message = await exchange.next(QUIET_SECONDS)
        yield b": \n\n" if message is None else _event(message)


async def _said(session: Session) -> AsyncIterator[bytes]:
    yield b": \n\n"
    while session.process is not None:
        message = await session.listen(QUIET_SECONDS)
        yield b": \n\n" if message is None else _event(message)


def _listens_no_more(session: Session) -> None:
    session.is_listening = False


async def _log(server: StdioServer, number: int) -> AsyncIterator[bytes]:
    is_last = False
    while not is_last:
        is_last = server.log.is_closed
        number, lines = server.log.since(number)
        yield "".join(f"{line}\n" for line in lines).encode() if lines else b""
        await server.log.changed(QUIET_SECONDS)


def _event(message: Any) -> bytes:
    return b"event: message\ndata: " + _encode(message) + b"\n\n"
