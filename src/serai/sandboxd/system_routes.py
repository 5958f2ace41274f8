"""``/``, ``/health`` and ``/network``: the sandbox about itself."""

import asyncio
import os
import platform
import time

from serai import __version__
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest
from serai.sandboxd.http import Answer, json_answer
from serai.sandboxd.processes import ProcessTable
from serai.sandboxd.requests import Request, whole_number
from serai.sandboxd.router import Router
from serai.sandboxd.sockets import ports_of
from serai.wire.sandbox_api import Health, PortList, UpgradeStatus

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
WELCOME = {
    "message": "This is a Serai sandbox",
    "documentation": "/health",
    "description": "Runs commands, keeps files and serves ports; see the project's documentation.",
}


def duration(seconds: float) -> str:
    """Whole seconds as ``1h2m3s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


class SystemRoutes:
    """Handlers about the sandbox as a whole."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._started = time.monotonic()
        self._started_at = rfc3339(now())
        self._arch = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
        self._runtime = f"python{platform.python_version()}"

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            router.add(method, "/", self.welcome)
        router.add("GET", "/health", self.health)
        router.add("GET", "/network/process/{pid}/ports", self.ports)

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
                upgrade_count=0,
                started_at=self._started_at,
                last_upgrade=UpgradeStatus(),
                keep_alive_processes=sum(1 for p in self._table if p.keep_alive),
            )
        )

    async def ports(self, request: Request) -> Answer:
        """What a process and its descendants listen on."""
        pid = whole_number(request.params["pid"])
        if pid is None:
            raise BadRequest(f"invalid PID: '{request.params['pid']}' is not a number")
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, ports_of, pid)
        return json_answer(PortList(pid=pid, ports=found))
