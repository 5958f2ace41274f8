"""Logs of workloads: the parts of their store, put together for one process."""

from collections.abc import Coroutine, Iterable
from typing import Any

from litestar.types import ControllerRouterHandler

from serai.compute.controller import SandboxController
from serai.compute.records import SandboxRow
from serai.identity.accounts import workspace_ids
from serai.identity.principal import Authenticator
from serai.kernel.cursors import CursorCodec
from serai.kernel.lines import LineSink
from serai.kernel.settings import Settings
from serai.metering.store import UsageStore
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.store import DocumentStore
from serai.store.database import Database
from serai.store.reach import unbounded
from serai.telemetry.lines.calls import rows_as_lines
from serai.telemetry.lines.entry import Key
from serai.telemetry.lines.intake import intake_operations
from serai.telemetry.lines.keeper import LineKeeper
from serai.telemetry.lines.operations import line_operations
from serai.telemetry.lines.reading import LineReader
from serai.telemetry.lines.store import LineStore
from serai.telemetry.requests import RequestBuffer

MIB = 1 << 20


class Logging:
    """Where lines go, and where they are read.

    Args:
        settings: of the process.
        db: the platform's database.
        store: of documents, whose secrets are masked in lines.
        calls: rows of model calls, which are lines too.
    """

    def __init__(
        self, settings: Settings, db: Database, store: DocumentStore, calls: RequestBuffer
    ) -> None:
        self._db = db
        self._documents = store
        self.lines = LineStore(settings.data_dir, settings.logs_database_url, settings.log_rate)
        self.lines.masks.known = self._secrets
        self._keeper = LineKeeper(
            self.lines, self._workspaces, settings.log_retention, settings.log_mb * MIB
        )
        calls.on_saved = lambda rows: self.lines.feed.publish_late(lambda: rows_as_lines(rows))

    @property
    def sink(self) -> LineSink:
        """Takes lines of everything that prints some."""
        return self.lines.sink

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs until it is cancelled."""
        return [self.lines.run(), self._keeper.run()]

    def watch(self, controller: SandboxController) -> None:
        """Keep what the platform says of sandboxes, and know their secrets when they start."""
        controller.journal.sink = self.sink

        async def started(row: SandboxRow) -> None:
            self.lines.masks.changed((row.workspace, "sandbox", row.name))

        controller.on_start.append(started)

    def changed(self, kind: str, document: Document) -> None:
        """A document changed, and its secrets perhaps with it."""
        self.lines.masks.changed((document.workspace, kind, document.name))

    def workspace_gone(self, workspace: str) -> None:
        """A workspace was deleted; its lines go with it."""
        self._keeper.workspace_gone(workspace)

    def operations(
        self, usage: UsageStore, cursors: CursorCodec, authenticator: Authenticator
    ) -> list[ControllerRouterHandler]:
        """Every operation on logs."""
        reader = LineReader(self.lines, usage, cursors)
        return [
            *line_operations(reader, authenticator),
            *intake_operations(self.lines.queue),
        ]

    def _secrets(self, key: Key) -> Iterable[str]:
        workspace, kind, name = key

        def read(conn: Any) -> Iterable[str]:
            found = documents.find(conn, workspace, kind, name)
            return self._documents.secrets(found).values() if found is not None else ()

        with unbounded("secrets are looked up to keep them out of lines"):
            return self._db.read_now(read)

    async def _workspaces(self) -> frozenset[str]:
        with unbounded("workspaces that are gone are looked for among all"):
            return frozenset(await self._db.read(workspace_ids))
