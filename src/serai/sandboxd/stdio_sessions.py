"""Conversations with MCP servers on standard input and output: which answer is whose."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from serai.kernel.errors import ServiceUnavailable
from serai.kernel.ids import token
from serai.sandboxd.mcp import VERSIONS
from serai.sandboxd.spawning import Reaper, Surroundings
from serai.sandboxd.stdio import (
    INITIALIZED,
    LogTail,
    Message,
    StdioCommand,
    StdioProcess,
    initialize_message,
)

MOST_SESSIONS = 32
WAITING_MESSAGES = 256
"""Messages kept for a client that does not listen; of more the oldest are dropped."""
BEGIN_SECONDS = 60.0
"""How long a server may take to answer ``initialize`` when we ask it."""
GONE = -32000
"""JSON-RPC error of an answer that will not come."""


class Exchange:
    """A request of a client: what the server sends about it, at last the answer.

    Args:
        ours: the id by which the server knows it, and its progress.
        number: the client's own id of it.
        progress: the client's own token for its progress, if it wants to hear of that.
    """

    def __init__(self, ours: int, number: Any, progress: Any = msgspec.UNSET) -> None:
        self.ours, self.number, self.progress = ours, number, progress
        self._messages: deque[Message] = deque()
        self._changed = asyncio.Event()
        self.is_answered = False

    def put(self, message: Message, *, is_answer: bool = False) -> None:
        """Something to send to the client."""
        self._messages.append(message)
        self.is_answered = self.is_answered or is_answer
        self._changed.set()

    async def next(self, seconds: float) -> Message | None:
        """The next message; None when there is none within so many seconds."""
        if not self._messages:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), seconds)
            except TimeoutError:
                return None
        return self._messages.popleft()

    @property
    def is_over(self) -> bool:
        """Whether the answer has been taken."""
        return self.is_answered and not self._messages


class Session:
    """One conversation: a process, and the requests that wait for it.

    Ids of requests and progress are our own on the way to the server, so that many clients can
    share one process.
    """

    def __init__(self, over: Callable[["Session"], None]) -> None:
        self.id = token(32)
        self.process: StdioProcess | None = None
        self.used_at = asyncio.get_running_loop().time()
        self._over = over
        self._count = 0
        self._exchanges: dict[int, Exchange] = {}
        self._waiting: deque[Message] = deque(maxlen=WAITING_MESSAGES)
        self._heard = asyncio.Event()
        self.is_listening = False
        self.problem = ""

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for the server."""
        return bool(self._exchanges) or self.is_listening

    async def ask(self, message: Message) -> Exchange:
        """Send a request on to the server."""
        self._count += 1
        exchange = Exchange(self._count, message["id"])
        self._exchanges[exchange.ours] = exchange
        sent = message | {"id": exchange.ours}
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(meta, dict) and "progressToken" in meta:
            exchange.progress = meta["progressToken"]
            sent["params"] = params | {"_meta": meta | {"progressToken": exchange.ours}}
        await self.tell(sent)
        return exchange

    async def tell(self, message: Message) -> None:
        """Send on what has no answer: a notification, or the answer to a server's own request."""
        self.used_at = asyncio.get_running_loop().time()
        process = self.process
        if process is None:
            self._fail(self.problem)
            return
        try:
            await process.send(self._cancelling(message))
        except TimeoutError:
            self.problem = "it does not read its input"
            process.end()

    def _cancelling(self, message: Message) -> Message:
        if message.get("method") != "notifications/cancelled":
            return message
        params = message.get("params")
        wanted = params.get("requestId") if isinstance(params, dict) else None
        for number, exchange in self._exchanges.items():
            if exchange.number == wanted and isinstance(params, dict):
                return message | {"params": params | {"requestId": number}}
        return message

    def forget(self, exchange: Exchange) -> None:
        """The client waits no more."""
        self._exchanges.pop(exchange.ours, None)

    def heard(self, message: Message) -> None:
        """The server has sent a message."""
        self.used_at = asyncio.get_running_loop().time()
        if "method" not in message:
            self._answered(message)
            return
        params = message.get("params")
        ours = params.get("progressToken") if isinstance(params, dict) else None
        exchange = self._exchanges.get(ours) if isinstance(ours, int) else None
        if isinstance(params, dict) and exchange and exchange.progress is not msgspec.UNSET:
            exchange.put(message | {"params": params | {"progressToken": exchange.progress}})
        elif not self.is_listening and self._exchanges:
            next(reversed(self._exchanges.values())).put(message)
        else:
            self._waiting.append(message)
            self._heard.set()

    def _answered(self, message: Message) -> None:
        number = message.get("id")
        exchange = self._exchanges.pop(number, None) if isinstance(number, int) else None
        if exchange is not None:
            exchange.put(message | {"id": exchange.number}, is_answer=True)

    async def listen(self, seconds: float) -> Message | None:
        """The next message that belongs to no request, None without one for so many seconds."""
        if not self._waiting and self.process is not None:
            self._heard.clear()
            try:
                await asyncio.wait_for(self._heard.wait(), seconds)
            except TimeoutError:
                return None
        return self._waiting.popleft() if self._waiting else None

    def ended(self, problem: str) -> None:
        """Its process is gone: nobody is left waiting."""
        self.process = None
        self.problem = self.problem or problem
        self._fail(self.problem)
        self._heard.set()
        self._over(self)

    def _fail(self, problem: str) -> None:
        error = {"code": GONE, "message": f"The MCP server is gone: {problem}."}
        for exchange in self._exchanges.values():
            fault = {"jsonrpc": "2.0", "id": exchange.number, "error": error}
            exchange.put(fault, is_answer=True)
        self._exchanges.clear()


class StdioServer:
    """A server as it was declared, and its conversations."""

    def __init__(
        self, how: StdioCommand, workdir: str, surroundings: Surroundings, reaper: Reaper
    ) -> None:
        self.how = how
        self.log = LogTail()
        self.sessions: dict[str, Session] = {}
        self._workdir, self._surroundings, self._reaper = workdir, surroundings, reaper
        self._shared: asyncio.Task[tuple[Session, Message]] | None = None

    def open(self) -> Session:
        """Start a process for a new conversation.

        Raises:
            ServiceUnavailable: there are too many, and all are in use.
            Unprocessable: the command cannot be started.
        """
        if len(self.sessions) >= MOST_SESSIONS:
            self._close_idlest()
        session = Session(self._gone)
        session.process = StdioProcess(
            self.how,
            self._workdir,
            self._surroundings,
            self._reaper,
            self.log,
            session.heard,
            lambda problem: session.ended(self._told(problem)),
        )
        self.sessions[session.id] = session
        return session

    async def shared(self) -> tuple[Session, Message]:
        """The conversation of all clients that have none of their own, begun by us.

        Returns:
            It, and what the server answered to ``initialize``.

        Raises:
            ServiceUnavailable: the server ended, or said nothing.
        """
        task = self._shared
        if task is None or (task.done() and not _is_alive(task)):
            task = self._shared = asyncio.ensure_future(self._begin())
        return await asyncio.shield(task)

    async def _begin(self) -> tuple[Session, Message]:
        session = self.open()
        exchange = await session.ask(initialize_message(VERSIONS[-1]))
        loop = asyncio.get_running_loop()
        until = loop.time() + BEGIN_SECONDS
        answer: Message | None = None
        while not exchange.is_over and loop.time() < until:
            answer = await exchange.next(until - loop.time())
        if answer is None or "result" not in answer:
            self.close(session)
            raise ServiceUnavailable(self._why(answer))
        await session.tell(INITIALIZED)
        return session, answer

    def close(self, session: Session) -> None:
        """End a conversation."""
        self.sessions.pop(session.id, None)
        if session.process is not None:
            session.process.end()

    def close_all(self) -> None:
        """End all."""
        for session in list(self.sessions.values()):
            self.close(session)

    async def ended(self) -> None:
        """End all, and wait until their processes have ended."""
        found = [each.process for each in self.sessions.values() if each.process is not None]
        self.close_all()
        await asyncio.gather(*(process.over() for process in found))
        self.log.close()

    def _gone(self, session: Session) -> None:
        self.sessions.pop(session.id, None)

    def _close_idlest(self) -> None:
        idle = [each for each in self.sessions.values() if not each.is_busy]
        if not idle:
            raise ServiceUnavailable(
                f"{MOST_SESSIONS} sessions with this MCP server are open, and all are in use; end"
                " one with DELETE."
            )
        self.close(min(idle, key=lambda session: session.used_at))

    def _told(self, problem: str) -> str:
        lines = self.log.newest()
        return f"{problem}; its last lines were: {lines}" if lines else problem

    def _why(self, answer: Message | None) -> str:
        if answer is None:
            return self._told(
                f"the MCP server did not answer 'initialize' for {BEGIN_SECONDS:.0f} seconds"
            )
        error = answer.get("error")
        said = error.get("message") if isinstance(error, dict) else "nothing of use"
        return f"the MCP server refused 'initialize': {said}"


def _is_alive(task: "asyncio.Task[tuple[Session, Message]]") -> bool:
    if task.cancelled() or task.exception() is not None:
        return False
    return task.result()[0].process is not None
