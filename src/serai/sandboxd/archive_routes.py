"""``/archive``: the freeze for an export, and the export as far as it is done in here.

``POST /archive/export`` itself is answered by the platform, which alone sees what the sandbox
changed; it uses the calls here that are not described: ``begin``, ``quiesced``, ``plan``,
``content``, ``beat`` and ``finish``, in this order. The archive leaves by connections of the
sandbox (see :mod:`serai.sandboxd.relay`).
"""

from collections.abc import AsyncIterator

import msgspec

from serai.kernel.errors import BadRequest, Conflict
from serai.sandboxd.archive import Archive, plan
from serai.sandboxd.errors import Unavailable, reason
from serai.sandboxd.file_routes import SMALL_BODY, body_as, in_thread
from serai.sandboxd.freeze import Freeze
from serai.sandboxd.http import Answer, Response, Stream, json_answer
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.wire.sandbox_api import ExportBegin, ExportPlan, ExportProgress, ExportResult

LIST_MAX = 80 * 1024 * 1024
"""Bytes of a list of changes, of which the platform makes 64 MiB, and of the options before it."""


class ArchiveRoutes:
    """Handlers of ``/archive``."""

    def __init__(self, table: ProcessTable, freeze: Freeze) -> None:
        self._table = table
        self._freeze = freeze
        self._archive: Archive | None = None

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.check = self._freeze.check
        router.add("GET", "/archive/processes", self.processes)
        router.add("GET", "/archive/status", self.status)
        router.add("POST", "/archive/resume", self.resume)
        router.add("POST", "/archive/export", self.export)
        router.add("POST", "/archive/begin", self.begin)
        router.add("GET", "/archive/quiesced", self.quiesced)
        router.add("POST", "/archive/plan", self.plan)
        router.add("GET", "/archive/content", self.content)
        router.add("POST", "/archive/beat", self.beat)
        router.add("POST", "/archive/finish", self.finish)

    async def processes(self, request: Request) -> Answer:
        """What would have to be started again, for the platform, which archives sandboxes."""
        return Response(self._table.to_start_again())

    async def status(self, request: Request) -> Answer:
        """Whether the sandbox is frozen, and how the last export went."""
        return json_answer(self._freeze.status())

    async def resume(self, request: Request) -> Answer:
        """Lift the freeze."""
        found = self._freeze.resume()
        self._archive = None
        return json_answer(found)

    async def export(self, request: Request) -> Answer:
        """Refused: what changed on top of the image cannot be seen from inside."""
        raise Unavailable("an archive cannot be made from inside: ask the platform for it")

    async def begin(self, request: Request) -> Answer:
        """An export begins."""
        wanted = await body_as(request, ExportBegin, SMALL_BODY)
        return json_answer(self._freeze.begin(wanted.stop_timeout_seconds))

    async def quiesced(self, request: Request) -> Answer:
        """Answers when nothing runs any more."""
        return json_answer(await self._freeze.quiesced())

    async def plan(self, request: Request) -> Answer:
        """What an archive would hold: the body is options as a line of JSON, then the list."""
        line, _, records = (await request.body(LIST_MAX)).partition(b"\n")
        try:
            wanted = msgspec.json.decode(line, type=ExportPlan)
        except msgspec.DecodeError as error:
            raise BadRequest(f"invalid request body: {error}") from error
        archive = await self._planned(wanted, records)
        if not wanted.dry_run:
            self._archive = archive
            self._freeze.scanned(archive.size)
        return json_answer(
            ExportResult(
                manifest=archive.manifest,
                changes=archive.changes if wanted.dry_run else msgspec.UNSET,
                size=archive.size,
                stopped_processes=self._freeze.status().stopped_processes,
            )
        )

    async def _planned(self, wanted: ExportPlan, records: bytes) -> Archive:
        frozen = self._freeze.is_frozen
        processes = self._freeze.processes if frozen else self._table.to_start_again()
        kept = processes if wanted.save_processes else None
        try:
            return await in_thread(plan, records, wanted.excludes, kept)
        except OSError as error:
            raise Unavailable(f"cannot archive the files: {reason(error)}") from error

    async def content(self, request: Request) -> Answer:
        """The archive that was planned last."""
        archive, self._archive = self._archive, None
        if archive is None:
            raise Conflict("no archive was planned")
        return Stream(_pieces(archive), "application/x-tar", length=archive.size)

    async def beat(self, request: Request) -> Answer:
        """The export goes on."""
        self._freeze.beat()
        return json_answer({})

    async def finish(self, request: Request) -> Answer:
        """The export is over."""
        self._freeze.finish(await body_as(request, ExportProgress, SMALL_BODY))
        self._archive = None
        return json_answer(self._freeze.status())


async def _pieces(archive: Archive) -> AsyncIterator[bytes]:
    pieces = archive.pieces()
    while (data := await in_thread(next, pieces, b"")) != b"":
        yield data
