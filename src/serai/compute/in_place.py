"""Calls of the sandbox API that the platform answers, as they need what lies outside."""

from serai.compute import exports
from serai.compute.drive_mounts import DriveMounts
from serai.compute.exports import Exports


class InPlace:
    """Gives each call to who answers it."""

    def __init__(self, mounts: DriveMounts, archives: Exports) -> None:
        self._mounts = mounts
        self._exports = archives

    async def answer(
        self, workspace: str, sandbox: str, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        """Status and JSON body of a request whose caller may use the sandbox."""
        by = self._exports if path == exports.PLACE else self._mounts
        return await by.answer(workspace, sandbox, method, path, body)
