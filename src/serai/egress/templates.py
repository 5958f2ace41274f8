"""Placeholders in what is added to requests: ``{{SECRET:name}}`` and ``{{FUNC:name(n)}}``.

Whatever cannot be resolved stays as it is, as on the hosted service.
"""

import re
import secrets
import string
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

MAX_FUNCTIONS = 10
_LONGEST = 1024
_SECRET = re.compile(r"\{\{SECRET:([^{}]{1,200})\}\}")
_PLACEHOLDER = re.compile(
    r"\{\{(?:SECRET:(?P<secret>[^{}]{1,200})|FUNC:(?P<name>\w{1,40})\((?P<argument>[^(){}]{0,20})\))\}\}"
)
_LETTERS = string.ascii_letters + string.digits
_VERSION_7, _VARIANT = 0x7000, 0x8000


class Unresolved(Exception):
    """A secret that this route does not have."""


class Expander:
    """Fills placeholders for one request, whose functions have a common budget."""

    def __init__(self) -> None:
        self._left = MAX_FUNCTIONS

    def expand(self, text: str, values: Mapping[str, str]) -> tuple[str, list[str]]:
        """Fill functions and secrets of a configured value.

        Returns:
            The text, and what functions made as ``name=value``.

        Raises:
            Unresolved: it names a secret that is not in ``values``.
        """
        made: list[str] = []

        def fill(match: "re.Match[str]") -> str:
            if (name := match["secret"]) is not None:
                if name not in values:
                    raise Unresolved(name)
                return values[name]
            return self._call(match, made)

        return _PLACEHOLDER.sub(fill, text), made

    def _call(self, match: "re.Match[str]", made: list[str]) -> str:
        name, argument = match["name"].lower(), match["argument"].strip()
        if self._left <= 0 or name not in _FUNCTIONS:
            return match[0]
        value = _FUNCTIONS[name](argument)
        if value is None:
            return match[0]
        self._left -= 1
        made.append(f"{name}={value}")
        return value


def fill_secrets(
    text: str, values: Mapping[str, str], encode: Callable[[str], str] = lambda value: value
) -> str:
    """Fill secrets in what a program inside wrote; ``encode`` makes a value fit its place."""
    return _SECRET.sub(lambda m: encode(values[m[1]]) if m[1] in values else m[0], text)


def _plain(make: Callable[[], str]) -> Callable[[str], str | None]:
    return lambda argument: None if argument else make()


def _sized(default: int, limit: int, make: Callable[[int], str]) -> Callable[[str], str | None]:
    def call(argument: str) -> str | None:
        if not argument:
            return make(default)
        if not argument.isascii() or not argument.isdigit() or not 0 < int(argument) <= limit:
            return None
        return make(int(argument))

    return call


def _uuid7() -> str:
    milliseconds = time.time_ns() // 1_000_000
    high = (milliseconds << 16) | _VERSION_7 | secrets.randbits(12)
    low = (_VARIANT << 48) | secrets.randbits(62)
    return str(uuid.UUID(int=(high << 64) | low))


def _utc(shape: str) -> str:
    return datetime.now(UTC).strftime(shape)


def _random_hex(count: int) -> str:
    return secrets.token_hex((count + 1) // 2)[:count]


def _random_text(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


_FUNCTIONS: Mapping[str, Callable[[str], str | None]] = {
    "uuid": _plain(lambda: str(uuid.uuid4())),
    "uuidv4": _plain(lambda: str(uuid.uuid4())),
    "uuidv7": _plain(_uuid7),
    "timestamp": _plain(lambda: str(int(time.time()))),
    "timestamp_ms": _plain(lambda: str(time.time_ns() // 1_000_000)),
    "timestamp_ns": _plain(lambda: str(time.time_ns())),
    "datetime": _plain(lambda: _utc("%Y-%m-%dT%H:%M:%SZ")),
    "iso8601": _plain(lambda: _utc("%Y-%m-%dT%H:%M:%SZ")),
    "date": _plain(lambda: _utc("%Y-%m-%d")),
    "time": _plain(lambda: _utc("%H:%M:%S")),
    "randint": _sized(2**31 - 1, 2**63, lambda limit: str(secrets.randbelow(limit))),
    "randhex": _sized(32, _LONGEST, _random_hex),
    "randstr": _sized(16, _LONGEST, _random_text),
    "nonce": _plain(lambda: _random_hex(32)),
}
