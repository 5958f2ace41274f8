"""``/terminal``: a shell in the browser, and the WebSocket behind it."""

import codecs
from pathlib import Path

import msgspec

from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.handover import ViewerState
from serai.sandboxd.http import Answer, Response, Upgrade
from serai.sandboxd.paths import Paths
from serai.sandboxd.requests import Request, whole_number
from serai.sandboxd.router import Router, not_found
from serai.sandboxd.swagger_routes import policy_of
from serai.sandboxd.terminals import MOST_CELLS, READ_SIZE, Size, Terminal, Terminals
from serai.sandboxd.websocket import TRY_LATER, FrameReader, Held, WebSocket, accept_key
from serai.wire.sandbox_api import TerminalInput, TerminalOutput, TerminalResize

PAGE = Path(__file__).with_name("terminal.html").read_bytes()
_SESSION = "default"
_SESSION_LENGTH = 128
_PLAIN = b"\x1b[0m"
"""Resets colours: what is replayed may begin in the middle of something coloured."""
_decoder = msgspec.json.Decoder(TerminalInput | TerminalResize)
_encode = msgspec.json.Encoder().encode


_HEADERS = {"Content-Security-Policy": policy_of(PAGE), "Referrer-Policy": "no-referrer"}


def size_of(cols: str, rows: str) -> Size:
    """A size given as text; what is no sensible number falls back to 80 by 24."""
    default = Size()
    sizes = whole_number(cols) or default.cols, whole_number(rows) or default.rows
    return Size(*(min(size, MOST_CELLS) for size in sizes))


class TerminalRoutes:
    """Handlers of ``/terminal``."""

    def __init__(self, terminals: Terminals, paths: Paths) -> None:
        self._terminals = terminals
        self._paths = paths
        self._held = Held()

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("GET", "/terminal", self.page)
        router.add("GET", "/terminal/ws", self.connect)

    def _disabled(self) -> bool:
        return self._terminals.environment.get("DISABLE_TERMINAL", "").lower() in ("true", "1")

    async def page(self, request: Request) -> Answer:
        """The terminal as a page that needs nothing from elsewhere."""
        if self._disabled():
            return not_found()
        return Response(PAGE, content_type="text/html; charset=utf-8", headers=_HEADERS)

    async def connect(self, request: Request) -> Answer:
        """Attach to the terminal of ``sessionId``; the first one there starts its shell."""
        if self._disabled():
            return not_found()
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Accept": accept_key(request)}
        viewer = Viewer(self._terminals, self._paths, request.query)
        return Upgrade(WebSocket(viewer, self._held), headers)

    def take_over(self, state: ViewerState) -> WebSocket:
        """A client that an earlier version of this API served."""
        viewer = Viewer(self._terminals, self._paths, state.query, state)
        frames = FrameReader(buffer=state.buffer, parts=state.parts, opcode=state.opcode)
        return WebSocket(viewer, self._held, frames)


class Viewer:
    """One client of a terminal."""

    def __init__(
        self,
        terminals: Terminals,
        paths: Paths,
        query: dict[str, str],
        earlier: ViewerState | None = None,
    ) -> None:
        self._terminals = terminals
        self._paths = paths
        self._query = query
        self._terminal: Terminal | None = None
        self._position = earlier.position if earlier is not None else 0
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._earlier = earlier
        self._socket: WebSocket

    def opened(self, socket: WebSocket) -> None:
        """Find or start the shell, and show what it printed so far."""
        self._socket = socket
        if self._earlier is not None:
            self._go_on(self._earlier)
            return
        try:
            terminal = self._terminal = self._find()
        except Unprocessable as error:
            self._send("error", error.message)
            socket.close(TRY_LATER)
            return
        terminal.attach(self)
        if terminal.tail.end:
            self._send("output", _PLAIN.decode())
        self.printed()

    def _go_on(self, earlier: ViewerState) -> None:
        terminal = self._terminal = self._terminals.get(earlier.session)
        if terminal is None:
            self._socket.close()
            return
        self._text.setstate(earlier.decoder)
        terminal.attach(self)
        if terminal.is_full:
            self._socket.pause()
        self.printed()

    def state(self) -> ViewerState | None:
        """What a later version needs for going on; None when the shell has ended."""
        if self._terminal is None or not self._terminal.is_open:
            return None
        position, decoder = self._position, self._text.getstate()
        session = self._query.get("sessionId") or _SESSION
        return ViewerState(
            fd=-1, query=self._query, session=session, position=position, decoder=decoder
        )

    def _find(self) -> Terminal:
        query = self._query
        session = query.get("sessionId") or _SESSION
        if len(session) > _SESSION_LENGTH:
            raise Unprocessable(f"sessionId: over {_SESSION_LENGTH} characters")
        size = size_of(query.get("cols", ""), query.get("rows", ""))
        terminal = self._terminals.get(session)
        if terminal is not None:
            terminal.resize(size)
            return terminal
        cwd = self._paths.named(query.get("workingDir") or ".").real
        return self._terminals.open(session, query.get("shell", ""), cwd, size)

    def printed(self) -> None:
        """Send what there is, as long as the client takes it."""
        terminal = self._terminal
        while terminal is not None and self._socket.is_writable:
            position, data = terminal.tail.read(self._position, READ_SIZE)
            if position != self._position:
                self._text.reset()
                data = _PLAIN + data
                self._position = position - len(_PLAIN)
            if not data:
                return
            self._position += len(data)
            if text := self._text.decode(data):
                self._send("output", text)

    def writable(self) -> None:
        """The client has caught up a little."""
        self.printed()

    def _send(self, kind: str, data: str) -> None:
        self._socket.send(_encode(TerminalOutput(type=kind, data=data)) + b"\n")

    def received(self, data: bytes) -> None:
        """Keys and sizes; anything else is ignored, as clients may say more one day."""
        terminal = self._terminal
        if terminal is None:
            return
        try:
            said = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if isinstance(said, TerminalResize):
            if said.cols > 0 and said.rows > 0:
                terminal.resize(Size(min(said.cols, MOST_CELLS), min(said.rows, MOST_CELLS)))
            return
        terminal.write(said.data.encode("utf-8", "replace"))
        if terminal.is_full:
            self._socket.pause()

    def drained(self) -> None:
        """The shell takes input again."""
        self._socket.resume()

    def ended(self) -> None:
        """The shell is gone."""
        self.printed()
        self._terminal = None
        self._socket.close()

    def check(self) -> None:
        """Look whether the client is still there."""
        self._socket.abort_if_hung_up()

    def left(self) -> None:
        """The client is gone; the terminal stays for a while."""
        if self._terminal is not None:
            self._terminal.detach(self)
            self._terminal = None
