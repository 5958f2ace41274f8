"""The queue of builds: rows that are taken in turn, a few at a time, and survive a crash."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec
import structlog
from sqlalchemy import Connection

from serai.build import records
from serai.build.failures import BuildFailed
from serai.build.lines import BuildLines
from serai.build.native import refuse_unknown
from serai.build.options import Options
from serai.build.ports import Builder, Job, Limits
from serai.build.publishing import Publisher
from serai.build.records import BuildRow
from serai.build.sources import Sources
from serai.kernel.clock import now, rfc3339
from serai.kernel.lines import LineSink
from serai.resources.documents import Document
from serai.runtime.making import BUILT, MadeImage, Making
from serai.runtime.port import Library, RuntimeProblem
from serai.store.database import Database

LOOK_SECONDS = 1.0
SHOWN_SECONDS = 3.6
"""How long BUILDING can be seen at least: official clients look every three seconds and take
DEPLOYED for news only after it."""
ATTEMPTS = 3
log = structlog.get_logger(__name__)
OnChange = Callable[[str, Document, bool], None]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows: builds at once, and for each seconds and MiB."""

    at_once: int
    seconds: int
    memory_mb: int
    disk_mb: int


class BuildQueue:
    """Takes builds whose code is there, and ends those that nobody waits for any more."""

    def __init__(
        self,
        db: Database,
        sources: Sources,
        builders: Sequence[Builder],
        library: Callable[[], Library],
        publisher: Publisher,
        bounds: Bounds,
        sink: LineSink,
        on_change: OnChange,
    ) -> None:
        self._db = db
        self._sources = sources
        self._builders = builders
        self._library = library
        self._publisher = publisher
        self._bounds = bounds
        self._sink = sink
        self._on_change = on_change
        self._news = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: set[str] = set()
        """Builds with an image, which only tell others of it: nobody cuts these off."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """There is something to do; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._news.set)

    async def prepare(self) -> None:
        """Repair what a crash left: builds that were going on begin again, from their upload."""
        self._loop = asyncio.get_running_loop()
        waiting = await self._db.write(self._repair)
        await asyncio.to_thread(self._sources.prepare, waiting)

    def _repair(self, conn: Connection) -> set[str]:
        for row in records.with_status(conn, "BUILDING"):
            if row.attempt >= ATTEMPTS:
                self._publisher.failed(
                    conn, row, f"the server stopped {ATTEMPTS} times while this was built"
                )
            else:
                records.change(conn, row.id, status="QUEUED")
        return {row.id for row in records.with_status(conn, "QUEUED")}

    async def run(self) -> None:
        """Serve the queue until cancelled; what goes on then is begun again at the next start."""
        try:
            while True:
                try:
                    await self._look()
                except Exception:
                    log.exception("build_queue_failed")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)
                self._news.clear()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _look(self) -> None:
        open_rows, wanted = await self._db.read(self._open)
        await self._drop_expired([row for row in open_rows if row.status == "UPLOADING"])
        rows = [row for row in open_rows if row.status != "UPLOADING"]
        for row in rows:
            if row.id not in wanted and row.id not in self._running:
                await self._db.write(lambda conn, row=row: self._publisher.cancelled(conn, row))  # type: ignore[misc]
                await asyncio.to_thread(self._sources.drop, row.id)
        for key, task in self._running.items():
            if key not in wanted and key not in self._ending:
                task.cancel()
        for row in rows:
            if len(self._running) >= self._bounds.at_once:
                return
            if row.id in wanted and row.id not in self._running:
                task = asyncio.create_task(self._one(row))
                self._running[row.id] = task
                task.add_done_callback(lambda _, key=row.id: self._done(key))  # type: ignore[misc]

    def _open(self, conn: Connection) -> tuple[list[BuildRow], set[str]]:
        """Builds that have not ended, and which of those whose code is here somebody waits for."""
        rows = records.with_status(conn, *records.OPEN)
        begun = [row for row in rows if row.status != "UPLOADING"]
        return rows, {row.id for row in begun if self._publisher.is_awaited(conn, row)}

    def _done(self, key: str) -> None:
        self._running.pop(key, None)
        self._ending.discard(key)
        self._news.set()

    async def _drop_expired(self, rows: list[BuildRow]) -> None:
        """Code that was announced and never came."""
        moment = rfc3339(now())
        for row in rows:
            if row.expires_at < moment:
                await self._fail(row, "its code was not uploaded within an hour")

    async def _one(self, row: BuildRow) -> None:
        """One build from its upload to its end, whatever that is."""
        lines = BuildLines(self._sink, row)
        try:
            await self._change(lambda conn: self._publisher.begun(conn, row))
            shown_until = asyncio.get_running_loop().time() + SHOWN_SECONDS
            try:
                await self._build(row, lines, shown_until)
            except TimeoutError:
                await self._failed(row, lines, self._too_long(lines), shown_until)
            except (BuildFailed, RuntimeProblem, OSError) as problem:
                await self._failed(row, lines, str(problem), shown_until)
        except asyncio.CancelledError:
            await asyncio.shield(self._cut_off(row))
            raise
        except Exception:
            log.exception("build_broke", build=row.id)
            await self._failed(row, lines, "something went wrong in the platform; see its log", 0)

    async def _build(self, row: BuildRow, lines: BuildLines, shown_until: float) -> None:
        making = self._library().making
        if making is None:
            raise BuildFailed(
                "images are built only with a runtime that keeps images itself (embedded, runc, "
                "crun, runsc, bwrap): this one leaves them to a container engine"
            )
        with making.holding():
            async with asyncio.timeout(self._bounds.seconds):
                made = await self._made(row, lines, making)
            lines.say(f"Built an image of {made.size / (1 << 20):.1f} MiB: {made.digest}")
            await _until(shown_until)
            self._ending.add(row.id)
            document = await self._change(lambda conn: self._built(conn, row, made))
            current = await self._db.read(lambda conn: records.get(conn, row.id))
            if current is None or current.status != "BUILT":
                await making.forget(made.reference)
        await asyncio.to_thread(self._sources.drop, row.id)
        if document is not None:
            await self._publisher.published(document)

    async def _made(self, row: BuildRow, lines: BuildLines, making: Making) -> MadeImage:
        lines.say("Reading the uploaded code")
        project = await self._sources.open(row.id)
        lines.hide(project.arguments.values())
        builder = next((each for each in self._builders if each.handles(project)), None)
        if builder is None:
            raise refuse_unknown(project)
        job = Job(
            id=row.id,
            reference=f"{BUILT}/{row.id}:latest",
            project=project,
            limits=self._limits(row, lines),
            say=lines.say,
            making=making,
            starts_itself=row.resource_type == "sandbox",
        )
        return await builder.build(job)

    def _limits(self, row: BuildRow, lines: BuildLines) -> Limits:
        wanted = msgspec.json.decode(row.options, type=Options)
        bounds = self._bounds
        if wanted.memory_mb > bounds.memory_mb or wanted.disk_mb > bounds.disk_mb:
            lines.say(
                f"More was asked for than this installation allows a build: {bounds.memory_mb} MiB "
                f"of memory, {bounds.disk_mb} MiB of disk"
            )
        return Limits(
            memory_mb=min(max(wanted.memory_mb, 256), bounds.memory_mb)
            if wanted.memory_mb
            else bounds.memory_mb,
            disk_mb=min(wanted.disk_mb or bounds.disk_mb, bounds.disk_mb),
            seconds=bounds.seconds,
        )

    def _built(self, conn: Connection, row: BuildRow, made: MadeImage) -> Document | None:
        if not self._publisher.is_wanted(conn, row):  # newer code came in the last moment
            return None
        return self._publisher.built(conn, row, made)

    def _too_long(self, lines: BuildLines) -> str:
        return (
            f"the build took longer than {self._bounds.seconds} s (the setting build_seconds); the "
            f"last that it printed: {lines.last[:300]}"
        )

    async def _failed(self, row: BuildRow, lines: BuildLines, why: str, shown_until: float) -> None:
        shown = lines.masked(why)
        lines.say(f"The build failed: {shown}", severity="error")
        log.info("build_failed", build=row.id, resource=row.name, reason=shown[:500])
        await _until(shown_until)
        await self._fail(row, shown)
        await asyncio.to_thread(self._sources.drop, row.id)

    async def _fail(self, row: BuildRow, why: str) -> None:
        def write(conn: Connection) -> Document | None:
            if not self._publisher.is_wanted(conn, row):
                return None
            return self._publisher.failed(conn, row, why)

        await self._change(write)

    async def _cut_off(self, row: BuildRow) -> None:
        """Ended from outside: because nobody waits for it, or because the server stops."""

        def write(conn: Connection) -> bool:
            current = records.get(conn, row.id)
            if current is not None and current.status not in records.OPEN:
                return False  # it has come to an end: what is left is repaired at the next start
            if self._publisher.is_wanted(conn, row):
                records.change(conn, row.id, status="QUEUED", attempt=row.attempt)
                return True
            self._publisher.cancelled(conn, row)
            return False

        if not await self._db.write(write):
            await asyncio.to_thread(self._sources.drop, row.id)

    async def _change(self, write: Callable[[Connection], Document | None]) -> Document | None:
        document = await self._db.write(write)
        if document is not None:
            self._on_change(document.kind, document, False)
        return document


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
