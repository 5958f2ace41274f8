"""Calls of the sandbox API that the platform answers, as they need what lies outside."""

from serai.compute import exports, tunnels
from serai.compute.drive_mounts import DriveMounts
from serai.compute.exports import Exports
from serai.compute.tunnels import Tunnels


class InPlace:
    """Gives each call to who answers it."""

    def __init__(self, mounts: DriveMounts, archives: Exports, ways: Tunnels) -> None:
        self._mounts = mounts
        self._exports = archives
        self._tunnels = ways

    async def answer(
        self, workspace: str, sandbox: str, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        """Status and JSON body of a request whose caller may use the sandbox."""
        by: DriveMounts | Exports | Tunnels = self._mounts
        if path == exports.PLACE:
            by = self._exports
        elif path in (tunnels.PLACE, tunnels.CONFIG):
            by = self._tunnels
        return await by.answer(workspace, sandbox, method, path, body)
