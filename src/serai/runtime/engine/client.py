"""The few calls of the Docker Engine API (1.41) that we need; Podman answers them as well."""

import json
import os
from collections.abc import AsyncIterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from serai.runtime.port import RuntimeProblem

_API = "/v1.41"
_SECONDS = 60.0
_PULL_SECONDS = 1800.0


class EngineProblem(RuntimeProblem):
    """The engine refused; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def socket_of(engine: str, environ: Mapping[str, str]) -> str:
    """Where the engine listens, as its own clients find it; the first that is there."""
    named = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[engine]
    if url := environ.get(named):
        parts = urlsplit(url)
        if parts.scheme != "unix":
            raise RuntimeProblem(
                f"{named} is {url!r}: Serai shares files with the engine, so it must run on this "
                "machine: use unix:///path/of/its.sock"
            )
        return parts.path
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    usual = {
        "docker": ["/var/run/docker.sock", f"{own}/docker.sock"],
        "podman": ["/run/podman/podman.sock", f"{own}/podman/podman.sock"],
    }[engine]
    if os.geteuid() != 0:
        usual.reverse()
    return next((path for path in usual if Path(path).exists()), usual[0])


class Engine:
    """One container engine.

    Args:
        name: ``docker`` or ``podman``.
        socket: path of its Unix socket.
    """

    def __init__(self, name: str, socket: str) -> None:
        self.name = name
        self.socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close our connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, **query: str) -> Any:
        """A resource."""
        return await self._call("GET", path, query, None)

    async def post(self, path: str, body: object = None, **query: str) -> Any:
        """An action, or something new."""
        data = json.dumps(body).encode() if body is not None else None
        return await self._call("POST", path, query, data)

    async def delete(self, path: str, **query: str) -> None:
        """Remove something."""
        await self._call("DELETE", path, query, None)

    async def upload(self, path: str, body: AsyncIterable[bytes], **query: str) -> Any:
        """Send a tar archive; the answer is a stream of progress, of which problems count."""
        return await self._call("POST", path, query, body, seconds=_PULL_SECONDS)

    async def pull(self, reference: str) -> None:
        """Fetch an image from its registry.

        Raises:
            EngineProblem: in the engine's words.
        """
        query = {"fromImage": reference}
        await self._call("POST", "/images/create", query, None, seconds=_PULL_SECONDS)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        data: bytes | AsyncIterable[bytes] | None,
        seconds: float = _SECONDS,
    ) -> Any:
        if self._session is None:
            connector = aiohttp.UnixConnector(self.socket)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        headers = {"Content-Type": "application/json" if isinstance(data, bytes) else _TAR}
        try:
            async with self._session.request(
                method,
                f"http://engine{_API}{quote(path)}",
                params=query,
                data=data,
                headers=headers if data is not None else None,
                timeout=aiohttp.ClientTimeout(seconds),
            ) as answer:
                return self._checked(answer.status, await answer.read())
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            why = getattr(error, "strerror", None) or str(error) or "no answer in time"
            raise EngineProblem(
                f"{self.name} does not answer on {self.socket} ({why})", 0
            ) from error

    def _checked(self, status: int, body: bytes) -> Any:
        """The answer's content; progress streams (one object a line) hide problems in theirs."""
        contents = [_decoded(line) for line in body.splitlines() if line.strip()]
        for content in contents:
            problem = content.get("error") if isinstance(content, dict) else None
            if problem and status < 400:
                raise EngineProblem(f"{self.name}: {problem}", status)
        if status >= 400:
            said = contents[0] if contents else ""
            message = said.get("message", said) if isinstance(said, dict) else said
            raise EngineProblem(f"{self.name}: {str(message).strip()[:1000]}", status)
        return contents[0] if len(contents) == 1 else contents


_TAR = "application/x-tar"


def _decoded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line.decode(errors="replace")
