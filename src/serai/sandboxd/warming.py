"""Doing once, before the fork, what each fork would do at first: it saves memory and time.

A fork shares every page of memory with its parent until one of them writes to it. Running a
function for the first times writes into it (the interpreter adapts it) and around it. So the
functions that every sandbox needs run here, and are put beside each other.
"""

import asyncio
import contextlib
import gc
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from types import CodeType, FrameType, FunctionType

from serai.sandboxd.connection import Connection
from serai.sandboxd.http import Handler

ROUNDS = 4
"""How often each request is made: the interpreter adapts what ran a few times."""
_LENGTH = re.compile(rb"Content-Length: (\d+)")
_COMMAND = b'{"command": "true", "waitForCompletion": true}'
_CONTENT = b'{"content": "warm"}'

Start = Callable[[asyncio.AbstractEventLoop, str], Handler]


def warm(start: Start) -> None:
    """Serve the usual requests for a moment, twice: the second time from packed functions.

    Args:
        start: makes a handler for an event loop and a working directory.
    """
    used: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            used.add(frame.f_code)

    sys.setprofile(note)
    try:
        _serve(start)
    finally:
        sys.setprofile(None)
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and found.__code__ in used:
            found.__code__ = found.__code__.replace()  # one after the other, on few pages
    _serve(start)


def _serve(start: Start) -> None:
    directory = tempfile.mkdtemp(prefix="serai-warm-")
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(_requests(loop, start(loop, directory), directory))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
        shutil.rmtree(directory, ignore_errors=True)


async def _requests(loop: asyncio.AbstractEventLoop, handler: Handler, directory: str) -> None:
    file = os.fsencode(f"/filesystem/{directory}/file")
    async with _connected(loop, handler) as (reader, writer):
        for _ in range(ROUNDS):
            await _call(reader, writer, b"GET /health")
            await _call(reader, writer, b"POST /process", _COMMAND)
            await _call(reader, writer, b"PUT " + file, _CONTENT)
            await _call(reader, writer, b"GET " + file)


@contextlib.asynccontextmanager
async def _connected(
    loop: asyncio.AbstractEventLoop, handler: Handler
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    ours, theirs = socket.socketpair()
    await loop.connect_accepted_socket(lambda: Connection(handler), theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.sleep(0.01)  # until the other side has seen it


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: bytes, body: bytes = b""
) -> None:
    head = b"%b HTTP/1.1\r\nHost: warm\r\nContent-Length: %d\r\n\r\n" % (what, len(body))
    writer.write(head + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    if found := _LENGTH.search(answer):
        await reader.readexactly(int(found[1]))
