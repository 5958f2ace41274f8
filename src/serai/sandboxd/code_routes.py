"""``/codegen``: apply sketched edits and rank files, both without any model."""

import math
import shlex
import threading
from collections.abc import Callable

from serai.kernel.errors import BadRequest, PayloadTooLarge
from serai.sandboxd.edits import apply_edit
from serai.sandboxd.errors import Unprocessable
from serai.sandboxd.file_routes import FILE_MODE, SMALL_BODY, body_as, in_thread, is_directory
from serai.sandboxd.files import Files
from serai.sandboxd.http import Answer, json_answer
from serai.sandboxd.paths import Location, Paths, text
from serai.sandboxd.ranking import candidates, documents, rank
from serai.sandboxd.requests import Request, whole_number
from serai.sandboxd.router import Router
from serai.sandboxd.running import Runner
from serai.sandboxd.search import DEFAULT_EXCLUDED, Scope
from serai.wire.sandbox_files import EditAnswer, EditRequest, RankAnswer, RankedFile

PROVIDER = "serai"
EDIT_LIMIT = 1024 * 1024
"""Bytes of a file that can be edited."""
THRESHOLD, TOKENS = 0.5, 30_000
_NO_MATCH, _FAULT = 1, 2
"""Exit codes of grep."""


class Coder:
    """Edits and rankings for the HTTP routes and for the tools."""

    def __init__(self, files: Files, runner: Runner) -> None:
        self._files = files
        self._runner = runner

    async def edit(self, place: Location, edit: str) -> tuple[str, str]:
        """Apply an edit; the file before (empty when there was none) and after.

        Raises:
            BadRequest: when the path is a directory.
            Unprocessable: when the edit has no clear place, or the file cannot be written.
        """
        if await is_directory(place.real):
            raise BadRequest(f"path is a directory: {text(place.real)}")
        return await in_thread(self._edit, place, edit)

    def _edit(self, place: Location, edit: str) -> tuple[str, str]:
        original = self._files.text_of(place, EDIT_LIMIT)
        if len(edit) > EDIT_LIMIT:
            raise PayloadTooLarge(f"codeEdit: over {EDIT_LIMIT} characters")
        updated = apply_edit(original or "", edit)
        self._files.write(place.real, updated.encode("utf-8", "replace"), FILE_MODE)
        return original or "", updated

    async def rank(
        self, root: str, query: str, threshold: float, tokens: int, pattern: str
    ) -> list[RankedFile]:
        """Files below a directory by how much they have to do with a query."""
        halted = threading.Event()
        scope = Scope(root, DEFAULT_EXCLUDED, True, halted.is_set)
        try:
            paths = await in_thread(candidates, scope)
            if pattern:
                paths = await self._matching(paths, pattern)
            return await in_thread(
                lambda: rank(list(documents(scope, paths)), query, threshold, tokens)
            )
        finally:
            halted.set()

    async def _matching(self, paths: list[str], pattern: str) -> list[str]:
        """Paths that a regular expression matches, tried by a process that can be ended."""
        feed = "\0".join(paths).encode("utf-8", "surrogateescape")
        command = f"exec grep -zP -e {shlex.quote(pattern)}"
        done = await self._runner.run(command, "/", feed=feed)
        if done.code not in (0, _NO_MATCH):
            raise BadRequest(f"filePattern: '{pattern}': {done.problem()}")
        return [each for each in done.out.decode("utf-8", "surrogateescape").split("\0") if each]

    async def grep(
        self, cwd: str, pattern: str, options: list[str], show: Callable[[bytes], str]
    ) -> str:
        """Lines below a directory that a regular expression matches.

        Raises:
            Unprocessable: when there are none, or the expression is wrong.
        """
        words = ["grep", "-rnbHIZP", "-m", "200", *options, "-e", pattern, "."]
        done = await self._runner.run("exec " + shlex.join(words), cwd)
        if done.code == _NO_MATCH and not done.out:
            raise Unprocessable("grep search failed: exit status 1, nothing matches")
        if done.code not in (0, _NO_MATCH) and not done.out:
            raise Unprocessable(f"grep search failed: {done.problem()}")
        return show(done.out)


class CodeRoutes:
    """Handlers of ``/codegen``."""

    def __init__(self, coder: Coder, paths: Paths) -> None:
        self._coder = coder
        self._paths = paths

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("PUT", "/codegen/fastapply{path}", self.apply)
        router.add("GET", "/codegen/reranking{path}", self.rank)

    async def apply(self, request: Request) -> Answer:
        """Apply an edit with markers for unchanged code."""
        wanted = await body_as(request, EditRequest, SMALL_BODY)
        if not wanted.code_edit:
            raise BadRequest("invalid request body: codeEdit is required and must not be empty")
        place = self._paths.locate(request.params["path"], request.raw_path)
        original, updated = await self._coder.edit(place, wanted.code_edit)
        return json_answer(
            EditAnswer(
                success=True,
                path=text(place.shown),
                original_content=original,
                updated_content=updated,
                provider=PROVIDER,
                message=f"Code edit applied successfully to {text(place.shown)}",
            )
        )

    async def rank(self, request: Request) -> Answer:
        """Files by how much they have to do with ``query``."""
        place = self._paths.locate(request.params["path"], request.raw_path)
        query = request.query.get("query", "")
        if not query:
            raise BadRequest("query parameter is required")
        if not await is_directory(place.real):
            raise BadRequest(f"path is not a directory: {text(place.real)}")
        threshold, tokens = self._bounds(request)
        pattern = request.query.get("filePattern", "")
        found = await self._coder.rank(place.real, query, threshold, tokens, pattern)
        for each in found:
            each.path = text(f"{place.shown.rstrip('/')}/{each.path}")
        count = f"Found {len(found)} relevant files"
        message = count if found else "No files found matching criteria"
        return json_answer(RankAnswer(success=True, files=found, message=message))

    @staticmethod
    def _bounds(request: Request) -> tuple[float, int]:
        given = request.query.get("scoreThreshold") or str(THRESHOLD)
        try:
            threshold = float(given)
        except ValueError:
            threshold = math.nan
        if not 0 <= threshold <= 1:
            raise BadRequest(f"scoreThreshold: '{given}' is not a number from 0 to 1")
        given = request.query.get("tokenLimit") or str(TOKENS)
        tokens = whole_number(given)
        if tokens is None:
            raise BadRequest(f"tokenLimit: '{given}' is not a number of 0 or more")
        return threshold, tokens
