"""The first bytes of a connection: TLS (with the name it asks for), HTTP/1, HTTP/2, or not known.

Only looks; whatever is wrong with the bytes is found by those who then read them.
"""

import re
import struct

import msgspec

MAX_HELLO = 32 * 1024
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _PROTOCOLS = 0, 16
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} [^\r\n]{0,16000} HTTP/1\.[01]\r?\n")
_REQUEST_START = re.compile(rb"[A-Z]{1,20}( [^\r\n]*(\r|\r\n.*)?)?", re.DOTALL)


class Hello(msgspec.Struct, frozen=True):
    """A TLS client's greeting: the server name (empty for none) and application protocols."""

    name: str = ""
    protocols: tuple[str, ...] = ()


class Incomplete(Exception):
    """More bytes are needed to tell."""


def read_tls(data: bytes) -> Hello | None:
    """The greeting, or ``None`` if this is not TLS.

    Raises:
        Incomplete: it may be, and is not all there yet.
    """
    if data[:1] != bytes([_HANDSHAKE]) or (len(data) > 1 and data[1] != 3):
        return None
    body = _handshake(data)
    if body is None:
        return None
    try:
        return _read_hello(body)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None


def _handshake(data: bytes) -> bytes | None:
    """The ClientHello inside one or more records, without its header."""
    body = b""
    at = 0
    while at + 5 <= len(data):
        kind, length = data[at], int.from_bytes(data[at + 3 : at + 5], "big")
        if kind != _HANDSHAKE or not length:
            return None
        body += data[at + 5 : at + 5 + length]
        at += 5 + length
        if body and body[0] != _CLIENT_HELLO:
            return None
        if len(body) >= 4:
            needed = 4 + int.from_bytes(body[1:4], "big")
            if needed > MAX_HELLO:
                return None
            if len(body) >= needed:
                return body[4:needed]
    raise Incomplete


def _read_hello(body: bytes) -> Hello:
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + struct.unpack_from("!H", body, at)[0]
    at += 1 + body[at]
    if at >= len(body):
        return Hello()
    (total,) = struct.unpack_from("!H", body, at)
    at, end = at + 2, at + 2 + total
    name = ""
    protocols: tuple[str, ...] = ()
    while at + 4 <= min(end, len(body)):
        kind, length = struct.unpack_from("!HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if kind == _SERVER_NAME and len(value) > 5 and value[2] == 0:
            size = int.from_bytes(value[3:5], "big")
            name = value[5 : 5 + size].decode("ascii").lower().rstrip(".")
        elif kind == _PROTOCOLS:
            protocols = _protocols(value)
        at += 4 + length
    return Hello(name, protocols)


def _protocols(value: bytes) -> tuple[str, ...]:
    found, at = [], 2
    while at < len(value):
        found.append(value[at + 1 : at + 1 + value[at]].decode("ascii"))
        at += 1 + value[at]
    return tuple(found)


def is_http1(data: bytes) -> bool:
    """Whether this begins like an HTTP/1 request.

    Raises:
        Incomplete: it may yet be one.
    """
    if _REQUEST_LINE.match(data):
        return not data.startswith(b"PRI ")
    if b"\n" not in data and len(data) < MAX_HELLO and _REQUEST_START.fullmatch(data):
        raise Incomplete
    return False


def is_http2(data: bytes) -> bool:
    """Whether this begins with the preface of HTTP/2 without TLS."""
    return data.startswith(HTTP2_PREFACE[:16])
