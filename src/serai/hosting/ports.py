"""What hosting needs from others; the composition root passes implementations in."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from serai.resources.kind import Body
from serai.runtime.port import Mount


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment: the document it is, and who pays for it.

    Attributes:
        kind: as the store knows it, for example ``agent``.
        workspace, name: by which it is addressed.
        document_id: unique for ever.
        account_id: who pays.
    """

    kind: str
    workspace: str
    name: str
    document_id: str
    account_id: str


class Usage(Protocol):
    """Where running time and asynchronous calls are metered; called in transactions."""

    def runs(self, conn: Connection, workload: Workload, memory_mb: int) -> None:
        """From now on instances with so much memory run of a workload; 0 for none. Repeatable."""

    async def called(self, workload: Workload, call_id: str, at: datetime) -> None:
        """A workload took an asynchronous call, by its id, at a moment. Repeatable."""

    def recover(self, conn: Connection, alive: list[str]) -> None:
        """After our own restart: what runs of these documents went on, of others it ended."""


class Images(Protocol):
    """From what a workspace names as an image to what the runtime knows."""

    def __call__(self, conn: Connection, workspace: str, kind: str, reference: str) -> str:
        """The reference behind a name, or the name itself."""


class Prebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """How an MCP server on offer is started: its words, and variables below the settings' own."""

    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}


class Offers(Protocol):
    """MCP servers on offer."""

    def __call__(self, name: str, image: str) -> Prebuilt | None:
        """What a function of a name with this image runs; None when nobody offers that."""


class Volumes(Protocol):
    """From attachments of volumes to mounts."""

    def __call__(
        self, conn: Connection, workspace: str, own_id: str, volumes: tuple[Body, ...]
    ) -> tuple[Mount, ...]:
        """What is mounted. Raises RuntimeProblem when a volume is gone."""


class Surroundings(Protocol):
    """What a workload is told of the platform."""

    def __call__(self, workload: Workload, revision: str) -> Mapping[str, str]:
        """Environment variables."""
