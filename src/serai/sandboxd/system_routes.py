"""``/``, ``/health``, ``/upgrade`` and ``/environment``: the sandbox about itself."""

import asyncio
import os
import platform
import time

import msgspec
from msgspec.structs import replace

from serai import __version__
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import NotFound
from serai.sandboxd.errors import Unavailable, reason
from serai.sandboxd.file_routes import SMALL_BODY, body_as, in_thread
from serai.sandboxd.files import opened_at_once
from serai.sandboxd.handover import SystemState
from serai.sandboxd.http import Answer, json_answer
from serai.sandboxd.process_table import ProcessTable
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router
from serai.sandboxd.succession import Succession, SuccessionProblem
from serai.wire.sandbox_api import (
    Health,
    Metadata,
    ReloadAnswer,
    UpgradeAnswer,
    UpgradeRequest,
    UpgradeStatus,
)

UPGRADE_DELAY = 0.5
"""Seconds between the answer to an upgrade and the upgrade, as clients know it."""
PLATFORM_HEADER = "x-serai-version"
"""By which the gateway tells the platform's version to this API, which may be older."""
METADATA = "/bl/metadata"
METADATA_LIMIT = 1024 * 1024
SUCCESSOR_HEADER = "x-serai-successor"
"""By which the gateway tells where the platform's version of this API is."""
_ALWAYS = ("develop", "main")
"""Versions that are whatever the platform has, even if it calls itself the same."""
_BASE_URL = "https://github.com/blaxel-ai/sandbox/releases"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
WELCOME = {
    "message": "This is a Serai sandbox",
    "documentation": "/swagger/index.html",
    "description": "Runs commands, keeps files and serves ports; see the project's documentation.",
}


def duration(seconds: float) -> str:
    """Whole seconds as ``1h2m3s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


class Offer(msgspec.Struct, frozen=True):
    """What a caller wants, and what the platform has: its version, and the name of its tree."""

    wanted: str
    version: str
    tree: str


class SystemRoutes:
    """Handlers about the sandbox as a whole."""

    def __init__(self, table: ProcessTable, succession: Succession) -> None:
        self._table = table
        self._succession = succession
        self._task: asyncio.Task[None] | None = None
        self.begin()
        self._arch = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
        self._runtime = f"python{platform.python_version()}"
        self._upgrades = 0
        self._upgrade = UpgradeStatus()

    def begin(self) -> None:
        """The sandbox's life begins now."""
        self._started = time.monotonic()
        self._started_at = rfc3339(now())

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            router.add(method, "/", self.welcome)
        router.add("GET", "/health", self.health)
        router.add("POST", "/upgrade", self.upgrade)
        router.add("POST", "/environment/reload", self.reload)

    async def welcome(self, request: Request) -> Answer:
        """Who answers here."""
        return json_answer(WELCOME)

    async def health(self, request: Request) -> Answer:
        """Alive, since when, and how many processes forbid the sandbox to sleep."""
        uptime = time.monotonic() - self._started
        return json_answer(
            Health(
                status="ok",
                version=__version__,
                git_commit="",
                build_time="",
                go_version=self._runtime,
                os="linux",
                arch=self._arch,
                uptime=duration(uptime),
                uptime_seconds=round(uptime, 3),
                upgrade_count=self._upgrades,
                started_at=self._started_at,
                last_upgrade=self._upgrade,
                keep_alive_processes=sum(1 for p in self._table if p.keep_alive),
            )
        )

    async def upgrade(self, request: Request) -> Answer:
        """Replace this API by the platform's version of it, which goes on where this one stops.

        The answer comes first. Where the platform has no other version, ``latest`` succeeds with
        the step ``skipped``, and is counted; ``develop`` and ``main`` replace it all the same.
        """
        wanted = await body_as(request, UpgradeRequest, SMALL_BODY, optional=True)
        version = wanted.version or "latest"
        offer = Offer(
            wanted=version,
            version=request.headers.get(PLATFORM_HEADER, __version__)[:80],
            tree=request.headers.get(SUCCESSOR_HEADER, ""),
        )
        asyncio.get_running_loop().call_later(UPGRADE_DELAY, self._begin_upgrade, offer)
        return json_answer(
            UpgradeAnswer(
                message="Upgrade initiated. Processes run on.",
                version=version,
                base_url=wanted.base_url or _BASE_URL,
            )
        )

    def _begin_upgrade(self, offer: Offer) -> None:
        if self._upgrade.status == "running":
            return
        self._upgrade = UpgradeStatus(
            status="running", step="starting", version=offer.wanted, last_attempt=rfc3339(now())
        )
        self._task = asyncio.get_running_loop().create_task(self._be_upgraded(offer))

    async def _be_upgraded(self, offer: Offer) -> None:
        status = self._upgrade
        if offer.wanted not in ("", "latest", *_ALWAYS, __version__, offer.version):
            self._fail(f"this platform provides version {offer.version} only")
        elif offer.wanted not in _ALWAYS and offer.version == __version__:
            self._upgrades += 1
            self._upgrade = replace(status, status="completed", step="skipped")
        else:
            try:
                self._upgrade = replace(status, step="validate")
                await self._succession.prepare(offer.tree)
                self._upgrade = replace(status, step="replace")
                await self._succession.carry_out()
            except (SuccessionProblem, OSError, MemoryError) as problem:
                self._fail(str(problem))

    def _fail(self, why: str) -> None:
        self._upgrade = replace(self._upgrade, status="failed", error=why)

    def state(self) -> SystemState:
        """What a successor has to know; it is what completes an upgrade."""
        return SystemState(
            started=self._started,
            started_at=self._started_at,
            upgrades=self._upgrades,
            upgrade=self._upgrade,
        )

    def take_over(self, state: SystemState) -> None:
        """Go on after an upgrade."""
        self._started, self._started_at = state.started, state.started_at
        self._upgrades = state.upgrades + 1
        self._upgrade = replace(state.upgrade, status="completed", step="completed")

    async def reload(self, request: Request) -> Answer:
        """Take the environment of later processes from the metadata file."""
        path = self._table.surroundings.environment.get("BL_METADATA_PATH") or METADATA
        found = await in_thread(_metadata, path)
        applied, removed = self._table.surroundings.replace(found.environment)
        return json_answer(
            ReloadAnswer(generation=found.generation, applied=applied, removed=removed)
        )


def _metadata(path: str) -> Metadata:
    try:
        with open(path, "rb", opener=opened_at_once) as file:
            data = file.read(METADATA_LIMIT + 1)
    except FileNotFoundError:
        raise NotFound(f"metadata file {path} does not exist") from None
    except OSError as error:
        raise Unavailable(f"metadata file {path}: {reason(error)}") from error
    if len(data) > METADATA_LIMIT:
        raise Unavailable(f"metadata file {path} is over {METADATA_LIMIT} bytes")
    try:
        found = msgspec.json.decode(data, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"metadata file {path}: {error}") from error
    for name, value in found.environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise Unavailable(f"metadata file {path}: '{name[:80]}' cannot be a variable")
    return found
