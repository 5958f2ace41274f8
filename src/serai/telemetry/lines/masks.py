"""Taking the values of secrets out of lines before they are kept."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from urllib.parse import quote

import msgspec
import structlog

from serai.kernel.errors import ServiceUnavailable
from serai.telemetry.lines.entry import Key

MASK = "***"
SHORTEST = 4
"""Shorter values are found in too much that is no secret."""
MOST_KNOWN = 4096
MOST_REMEMBERED = 500
"""Values of documents that are masked of one resource."""
log = structlog.get_logger(__name__)

Secrets = Callable[[Key], Iterable[str]]
"""The values of secrets that a resource has now, called from any thread."""


class Masks:
    """Knows which values must not be in the lines of which resource.

    What a resource's document has is asked for by itself, and what it had is remembered, as an
    older revision may go on printing. Whoever starts something with more (the secrets of a build,
    an override of a job, an older revision after a restart) says so with ``put``.

    Args:
        known: asks for what documents have.
    """

    def __init__(self, known: Secrets | None = None) -> None:
        self.known = known
        self._told: dict[Key, dict[str, tuple[str, ...]]] = {}
        self._patterns: OrderedDict[Key, re.Pattern[str] | None] = OrderedDict()
        self._had: dict[Key, dict[str, None]] = {}
        self._lock = threading.Lock()
        self._changes = 0

    def put(self, key: Key, owner: str, values: Iterable[str]) -> None:
        """From now on these values are masked too in the lines of a resource.

        Args:
            key: whose lines.
            owner: who says so; saying it again replaces what was said before.
            values: of secrets; none to say that there are no more.
        """
        kept = tuple(values)
        with self._lock:
            told = self._told.setdefault(key, {})
            told.pop(owner, None)
            if kept:
                told[owner] = kept
            elif not told:
                del self._told[key]
            self._forget(key)

    def changed(self, key: Key) -> None:
        """The document of a resource changed: ask for its secrets again."""
        with self._lock:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        self._changes += 1
        self._patterns.pop(key, None)

    def text(self, key: Key, text: str) -> str:
        """A text without the values of secrets.

        Raises:
            ServiceUnavailable: it cannot be told what they are right now.
        """
        try:
            pattern = self._patterns[key]
        except KeyError:
            pattern = self._learn(key)
        return text if pattern is None else pattern.sub(MASK, text)

    def _learn(self, key: Key) -> re.Pattern[str] | None:
        with self._lock:
            told = [value for values in self._told.get(key, {}).values() for value in values]
            changes = self._changes
        has = list(self._ask(key))
        with self._lock:
            had = self._had.setdefault(key, {})
            had |= dict.fromkeys(has)
            while len(had) > MOST_REMEMBERED:
                del had[next(iter(had))]
        pattern = pattern_of([*told, *had])
        with self._lock:
            if self._changes == changes:  # else the next line learns it again
                self._patterns[key] = pattern
            while len(self._patterns) > MOST_KNOWN:
                self._had.pop(self._patterns.popitem(last=False)[0], None)
        return pattern

    def _ask(self, key: Key) -> Iterable[str]:
        if self.known is None:
            return ()
        try:
            return self.known(key)
        except ServiceUnavailable:
            raise
        except Exception:  # what cannot be opened, no workload was given either
            log.exception("secrets_of_lines_unknown", resource=key[2])
            return ()


def pattern_of(values: Iterable[str]) -> re.Pattern[str] | None:
    """What finds secrets as they are, and as they look in a URL or in JSON.

    Of a value of several lines each line is found, as lines come one by one.
    """
    wanted: set[str] = set()
    for value in values:
        for part in (value, *value.splitlines()):
            if len(part.strip()) >= SHORTEST:
                wanted |= {part, part.strip(), quote(part, safe=""), _in_json(part)}
    if not wanted:
        return None
    longest_first = sorted(wanted, key=lambda each: (-len(each), each))
    return re.compile("|".join(map(re.escape, longest_first)))


def _in_json(text: str) -> str:
    try:
        return msgspec.json.encode(text).decode()[1:-1]
    except UnicodeEncodeError:
        return text
