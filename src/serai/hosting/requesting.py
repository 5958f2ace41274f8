"""One HTTP request of the platform to a workload, with its whole answer."""

import asyncio

import httptools

from serai.hosting.bridging import BRIDGED
from serai.hosting.instances import Instance
from serai.hosting.messages import Answered, Asked

BODY_MAX = 1024 * 1024
"""Bytes of an answer that are kept; more are counted."""
CONNECT_SECONDS = 10.0
PIECE = 64 * 1024


class NotSent(Exception):
    """The workload got nothing of it."""


class Broken(Exception):
    """The workload got it, and gave no whole answer; the message says what happened."""


class _Reading:
    """Callbacks of the parser."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.length = 0
        self.complete = False
        self.interim = False

    def on_body(self, data: bytes) -> None:
        self.length += len(data)
        self.kept += data[: BODY_MAX - len(self.kept)]

    def on_message_complete(self) -> None:
        self.complete = True


async def request(instance: Instance, asked: Asked, seconds: float) -> Answered:
    """Send it and wait for the whole answer, for so long at most.

    Raises:
        NotSent: no connection.
        Broken: the connection broke, or time was over.
        NotFound: the workload has no such path.
    """
    below, mark, query = asked.path.partition("?")
    path = instance.path(below.encode("latin-1")).decode("latin-1") + mark + query
    reader, writer = await _connected(instance)
    try:
        async with asyncio.timeout(seconds):
            writer.write(_head(asked, path) + asked.body)
            return await _answer(reader, asked)
    except TimeoutError:
        raise Broken(f"it did not answer within {seconds:g} s") from None
    except (OSError, httptools.HttpParserError) as problem:
        raise Broken("it broke the connection, or did not answer with HTTP") from problem
    finally:
        writer.close()


async def _connected(instance: Instance) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(instance.socket)
            if instance.port == BRIDGED:
                return reader, writer
            writer.write(b"%d\n" % instance.port)
            if await reader.readline() == b"ok\n":
                return reader, writer
            writer.close()
    except OSError as problem:
        raise NotSent("its instance cannot be reached") from problem
    raise NotSent("nothing listens in its instance")


def _head(asked: Asked, path: str) -> bytes:
    lines = [f"{asked.method} {path} HTTP/1.1", "host: workload", "connection: close"]
    lines += [f"{name}: {value}" for name, value in asked.headers]
    lines.append(f"content-length: {len(asked.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _answer(reader: asyncio.StreamReader, asked: Asked) -> Answered:
    reading = _Reading()
    parser = httptools.HttpResponseParser(reading)
    while not reading.complete:
        data = await reader.read(PIECE)
        if not data:
            if parser.get_status_code() and parser.get_status_code() >= 200:
                break  # the end of the connection may end the answer
            raise OSError("no answer")
        parser.feed_data(data)
        if reading.complete and parser.get_status_code() < 200:
            reading.complete = False
    return Answered(
        status=parser.get_status_code(),
        body=bytes(reading.kept).decode("utf-8", "replace"),
        length=reading.length,
    )
