"""``/filesystem-find``, ``-search``, ``-content-search`` and ``/watch/filesystem``."""

import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import msgspec

from serai.kernel.errors import BadRequest
from serai.sandboxd.file_routes import in_thread, is_directory
from serai.sandboxd.handover import ChangesGoing
from serai.sandboxd.http import Answer, Stream, json_answer
from serai.sandboxd.inotify import Watcher
from serai.sandboxd.paths import Location, Paths, text
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.requests import Request, whole_number
from serai.sandboxd.router import Router
from serai.sandboxd.search import (
    DEFAULT_EXCLUDED,
    ContentQuery,
    Scope,
    find,
    fuzzy,
    search_content,
)
from serai.wire.sandbox_files import ContentAnswer, FindAnswer, FuzzyAnswer, WatchEvent

MOST_RESULTS = 1000
MOST_LINES = 10_000
MOST_AROUND = 100
_encode = msgspec.json.Encoder().encode

T = TypeVar("T")


def number_in(request: Request, name: str, default: int, ceiling: int) -> int:
    """A number of the query, at most ``ceiling``.

    Raises:
        BadRequest: when it is none.
    """
    value = request.query.get(name) or str(default)
    number = whole_number(value)
    if number is None:
        raise BadRequest(f"invalid {name}: '{value}' is not a number of 0 or more")
    return min(number, ceiling)


def _most(request: Request, default: int, ceiling: int) -> int:
    return number_in(request, "maxResults", default, ceiling)


async def _searched(
    request: Request, root: str, hidden: bool, work: Callable[[Scope], list[T]]
) -> list[T]:
    """Run a search in a thread that ends early when its client goes away."""
    halted = threading.Event()
    names = request.query.get("excludeDirs", "")
    excluded = frozenset(n.strip() for n in names.split(",") if n.strip()) or DEFAULT_EXCLUDED
    try:
        return await in_thread(work, Scope(root, excluded, hidden, halted.is_set))
    finally:
        halted.set()


class SearchRoutes:
    """Handlers that look for files and wait for their changes."""

    def __init__(self, paths: Paths, table: ProcessTable) -> None:
        self._paths = paths
        self._table = table

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("GET", "/filesystem-find{path}", self.find)
        router.add("GET", "/filesystem-search{path}", self.fuzzy)
        router.add("GET", "/filesystem-content-search{path}", self.content)
        router.add("GET", "/watch/filesystem{path}", self.watch)

    def _place(self, request: Request) -> Location:
        return self._paths.locate(request.params["path"], request.raw_path)

    def _directory(self, request: Request) -> str:
        place = self._place(request)
        if not os.path.isdir(place.real):
            raise BadRequest(f"path is not a directory or does not exist: {text(place.real)}")
        return place.real

    @staticmethod
    def _skip_hidden(request: Request) -> bool:
        return request.query.get("excludeHidden", "true") == "true"

    async def find(self, request: Request) -> Answer:
        """Files or directories by name."""
        kind = request.query.get("type") or "file"
        if kind not in ("file", "directory"):
            raise BadRequest(f"invalid search type: '{kind}' is neither 'file' nor 'directory'")
        most = _most(request, 20, MOST_RESULTS)
        patterns = request.query.get("patterns", "")
        matches = await _searched(
            request,
            self._directory(request),
            self._skip_hidden(request),
            lambda scope: find(scope, kind, patterns, most),
        )
        return json_answer(FindAnswer(matches=matches, total=len(matches)))

    async def fuzzy(self, request: Request) -> Answer:
        """The best matches of ``query``; without one, of the path's last name in its parent."""
        place, query = self._place(request), request.query.get("query", "")
        root = place.real
        if not query:
            query = os.path.basename(root)
            root = root if await is_directory(root) else os.path.dirname(root)
        if not query:
            raise BadRequest("query: required, as a parameter or as the path's last name")
        most = _most(request, 20, MOST_RESULTS)
        patterns = request.query.get("patterns", "")
        matches = await _searched(
            request,
            root,
            self._skip_hidden(request),
            lambda scope: fuzzy(scope, query, patterns, most),
        )
        return json_answer(FuzzyAnswer(matches=matches, total=len(matches)))

    async def content(self, request: Request) -> Answer:
        """Lines that hold ``query``."""
        query = request.query.get("query", "")
        if not query:
            raise BadRequest("query parameter is required")
        wanted = ContentQuery(
            query,
            request.query.get("caseSensitive", "") == "true",
            request.query.get("filePattern", ""),
            _most(request, 100, MOST_LINES) or MOST_LINES,
            number_in(request, "contextLines", 0, MOST_AROUND),
        )
        matches = await _searched(
            request,
            self._directory(request),
            False,
            lambda scope: search_content(scope, wanted),
        )
        return json_answer(ContentAnswer(query=query, matches=matches, total=len(matches)))

    async def watch(self, request: Request) -> Answer:
        """Changes in a directory, one JSON object per line; with ``/**`` also below it."""
        going = request.going
        if isinstance(going, ChangesGoing):
            watcher = Watcher(going.root, going.recursive, going.ignored, going)
        else:
            watcher = await self._watcher(request)
        watcher.start()
        request.carry = watcher.state
        changes = self._changes(watcher)
        return Stream(changes, "text/plain; charset=utf-8", release=watcher.close)

    async def _watcher(self, request: Request) -> Watcher:
        path = request.params["path"]
        recursive = path.endswith("/**")
        place = self._paths.locate(path[:-2] if recursive else path, request.raw_path)
        if not await is_directory(place.real):
            raise BadRequest("path is not a directory")
        ignored = [part for part in request.query.get("ignore", "").split(",") if part]
        return await in_thread(Watcher, place.real, recursive, ignored)

    async def _changes(self, watcher: Watcher) -> AsyncIterator[bytes]:
        while True:
            await watcher.changed(self._table.limits.keepalive)
            if not watcher.queue:
                yield b"[keepalive]\n"
            while watcher.queue:
                change = watcher.queue.popleft()
                yield _line(change.operation, change.path, change.name, change.error)


def _line(operation: str, path: str, name: str, error: str | None) -> bytes:
    event = WatchEvent(op=operation, name=text(name), path=text(path), error=error)
    return _encode(event) + b"\n"
