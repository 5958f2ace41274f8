"""``/network`` and ``/drives``: ports of processes, and what a sandbox is attached to."""

import asyncio

from serai.kernel.errors import BadRequest
from serai.sandboxd.errors import Unavailable
from serai.sandboxd.file_routes import SMALL_BODY, body_as
from serai.sandboxd.http import Answer, json_answer
from serai.sandboxd.monitors import Monitors, parse_callback
from serai.sandboxd.requests import Request, whole_number
from serai.sandboxd.router import Router
from serai.sandboxd.sockets import ports_of
from serai.wire.sandbox_api import (
    DriveList,
    DriveRequest,
    MonitorRequest,
    PathAnswer,
    PortList,
    TunnelRequest,
)


def _pid(request: Request) -> int:
    pid = whole_number(request.params["pid"])
    if pid is None:
        raise BadRequest(f"invalid PID: '{request.params['pid']}' is not a number")
    return pid


class NetworkRoutes:
    """Handlers about ports, tunnels and drives."""

    def __init__(self, monitors: Monitors) -> None:
        self._monitors = monitors

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("GET", "/network/process/{pid}/ports", self.ports)
        router.add("POST", "/network/process/{pid}/monitor", self.monitor)
        router.add("DELETE", "/network/process/{pid}/monitor", self.end_monitor)
        router.add("PUT", "/network/tunnel/config", self.tunnel)
        router.add("DELETE", "/network/tunnel", self.end_tunnel)
        router.add("GET", "/drives/mount", self.drives)
        router.add("POST", "/drives/mount", self.mount)
        router.add("DELETE", "/drives/mount{path}", self.unmount)

    async def ports(self, request: Request) -> Answer:
        """What a process and its descendants listen on."""
        pid = _pid(request)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, ports_of, pid)
        return json_answer(PortList(pid=pid, ports=found))

    async def monitor(self, request: Request) -> Answer:
        """Tell a server inside about each new port, those that are open already too."""
        pid = _pid(request)
        wanted = await body_as(request, MonitorRequest, SMALL_BODY)
        self._monitors.add(pid, parse_callback(wanted.callback))
        return json_answer(PathAnswer(message="Port monitoring started"))

    async def end_monitor(self, request: Request) -> Answer:
        """Tell nobody about this process's ports any more; may be repeated."""
        self._monitors.remove(_pid(request))
        return json_answer(PathAnswer(message="Port monitoring stopped"))

    async def tunnel(self, request: Request) -> Answer:
        """A checked refusal: whoever is in a sandbox must not change what its network is."""
        wanted = await body_as(request, TunnelRequest, SMALL_BODY)
        if not wanted.config:
            raise BadRequest("invalid request body: config is required and must not be empty")
        raise Unavailable(
            "failed to apply tunnel config: the platform does that; send this to the sandbox's own "
            "address"
        )

    async def end_tunnel(self, request: Request) -> Answer:
        """None that could be ended from inside."""
        raise Unavailable(
            "failed to stop tunnel: the platform does that; send this to the sandbox's own address"
        )

    async def drives(self, request: Request) -> Answer:
        """None: drives are mounted by the platform, which answers this in our place."""
        return json_answer(DriveList(mounts=[]))

    async def mount(self, request: Request) -> Answer:
        """A checked refusal: nobody in a sandbox may reach the host's files."""
        wanted = await body_as(request, DriveRequest, SMALL_BODY)
        if not wanted.drive_name or not wanted.mount_path:
            raise BadRequest("invalid request body: driveName and mountPath are required")
        raise Unavailable(
            "Failed to mount drive: the platform does that; send this to the sandbox's own address"
        )

    async def unmount(self, request: Request) -> Answer:
        """There is no drive to take away."""
        path = request.params["path"].rstrip("/")
        if not path:
            raise BadRequest("Mount path is required (must start with /)")
        raise Unavailable(f"Failed to unmount drive: no drive is mounted at {path[:512]}")
