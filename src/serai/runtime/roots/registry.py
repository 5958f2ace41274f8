"""A client of registries: the read half of the OCI distribution specification."""

import asyncio
import base64
import errno
import re
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from serai.runtime.roots import oci
from serai.runtime.roots.credentials import Login, Logins
from serai.runtime.roots.names import Place
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.reach import Reach

_ACCEPT = ", ".join((*oci.INDEXES, *oci.MANIFESTS))
_ATTEMPTS = 5
_REDIRECTS = 5
_SENT_ON = frozenset({301, 302, 303, 307, 308})
_PIECE = 1 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Registry:
    """One image's place in its registry, as ``oci.Blobs``.

    Args:
        place: the image.
        parts: directory for what is being downloaded; what is there already is not asked again.
        logins: where credentials come from.
        plain: whether to speak HTTP instead of HTTPS; a registry on this machine always may.
    """

    def __init__(self, place: Place, parts: Path, logins: Logins, *, plain: bool = False) -> None:
        self._place = place
        self._parts = parts
        self._logins = logins
        local = (urlsplit(f"//{place.host}").hostname or "") in _LOCAL
        self._origin = f"{'http' if plain or local else 'https'}://{place.host}"
        self._base = f"{self._origin}/v2/{place.repository}"
        self._session: aiohttp.ClientSession | None = None
        self._authorization: str | None = None
        self._signing_in = asyncio.Lock()

    async def __aenter__(self) -> "Registry":
        self._parts.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._reach = Reach(self._place.host)
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT,
            trust_env=True,
            auto_decompress=False,
            connector=aiohttp.TCPConnector(resolver=self._reach),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def manifest(self, version: str) -> bytes:
        """A manifest or index by tag or digest."""
        url = f"{self._base}/manifests/{version}"
        try:
            async with await self._get(url, {"Accept": _ACCEPT}) as answer:
                data = await answer.content.read(oci.MAX_MANIFEST + 1)
                while len(data) <= oci.MAX_MANIFEST and (more := await answer.content.read(_PIECE)):
                    data += more
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error
        if len(data) > oci.MAX_MANIFEST:
            raise ImageProblem(f"the manifest of {self._place} is larger than 4 MiB")
        return oci.verify(data, version, "a manifest") if version.startswith("sha256:") else data

    async def blob(self, descriptor: oci.Descriptor, tell: oci.Tell) -> Path:
        """A verified file with the blob's bytes; a download that broke off is gone on with."""
        oci.check_digest(descriptor.digest)
        part = self._parts / descriptor.digest.removeprefix("sha256:")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._download(descriptor, part, tell)
                break
            except (aiohttp.ClientError, TimeoutError, _Incomplete) as error:
                if attempt == _ATTEMPTS:
                    raise self._unreachable(error) from error
                tell(f"broke off, trying again ({attempt})")
                await asyncio.sleep(min(5.0, 0.2 * 2**attempt))
            except OSError as error:
                part.unlink(missing_ok=True)
                if error.errno in _FULL:
                    raise ImageProblem(
                        "the disk is full: free some space (`serai images prune` removes images "
                        "that nothing uses) and try again"
                    ) from error
                raise ImageProblem(f"{part}: {error}") from error
        found = await asyncio.to_thread(oci.file_digest, part)
        if f"sha256:{found}" != descriptor.digest:
            part.unlink(missing_ok=True)
            raise oci.damaged(f"a part of {self._place}", descriptor.digest, found)
        return part

    def release(self, path: Path) -> None:
        """Remove a downloaded part."""
        path.unlink(missing_ok=True)

    async def _download(self, descriptor: oci.Descriptor, part: Path, tell: oci.Tell) -> None:
        there = _already(part, descriptor.size)
        if there == descriptor.size:
            return
        headers = {"Range": f"bytes={there}-"} if there else {}
        url = f"{self._base}/blobs/{descriptor.digest}"
        async with await self._get(url, headers) as answer:
            again = there if answer.status == 206 else 0
            with part.open("r+b" if again else "wb") as file:
                file.seek(again)
                async for data in answer.content.iter_chunked(_PIECE):
                    again += len(data)
                    if again > descriptor.size:
                        raise ImageProblem(
                            f"{self._place} sends more than the {descriptor.size} bytes that its "
                            "manifest promises; nothing of it was kept"
                        )
                    file.write(data)
                    tell(
                        f"downloaded {again * 100 // descriptor.size} % of {_mib(descriptor.size)}"
                    )
        if again < descriptor.size:
            raise _Incomplete(f"{again} of {descriptor.size} bytes came")

    async def _get(self, url: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """A successful answer; signs in when the registry asks for it."""
        assert self._session is not None
        for signed_in in (False, True):
            sent = dict(headers)
            if (used := self._authorization) is not None:
                sent["Authorization"] = used
            answer = await self._ask(url, sent)
            if answer.status in (200, 206):
                return answer
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            if answer.status == 401 and not signed_in:
                async with self._signing_in:
                    if self._authorization == used:
                        await self._sign_in(challenge)
                continue
            raise self._refused(answer.status)
        raise self._refused(401)

    async def _ask(self, url: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """Ask the registry, or whom it sends on to, who gets no credential of it."""
        assert self._session is not None
        for _ in range(_REDIRECTS):
            answer = await self._session.get(url, headers=headers, allow_redirects=False)
            place = answer.headers.get("Location")
            if answer.status not in _SENT_ON or place is None:
                return answer
            answer.release()
            before, url = url, urljoin(url, place)
            self._reach.check(url)
            if _origin(url) != _origin(before):
                headers = {key: text for key, text in headers.items() if key != "Authorization"}
        raise ImageProblem(f"registry {self._place.registry} sends on too often")

    async def _sign_in(self, challenge: str) -> None:
        login = await asyncio.to_thread(self._logins.find, self._place.registry)
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            if login is None or login.token:
                raise self._refused(401)
            self._authorization = _basic(login)
        elif scheme.lower() == "bearer":
            self._authorization = (
                f"Bearer {await self._token(dict(_PARAMETER.findall(rest)), login)}"
            )
        else:
            raise self._refused(401)

    async def _token(self, asked: dict[str, str], login: Login | None) -> str:
        """A token from the realm that the registry names (distribution, token specification).

        That place is not one to send us on: it gets the credentials.
        """
        assert self._session is not None
        realm = asked.pop("realm", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise ImageProblem(f"registry {self._place.registry} names no place to sign in at")
        self._reach.check(realm)
        scope = asked.get("scope") or f"repository:{self._place.repository}:pull"
        service = asked.get("service", "")
        try:
            if login is not None and login.token:
                form = {"grant_type": "refresh_token", "refresh_token": login.token}
                form |= {"scope": scope, "service": service, "client_id": "serai"}
                request = self._session.post(realm, data=form, allow_redirects=False)
            else:
                headers = {"Authorization": _basic(login)} if login else {}
                query = {"scope": scope, "service": service}
                request = self._session.get(
                    realm, params=query, headers=headers, allow_redirects=False
                )
            async with request as answer:
                data = await answer.content.read(1 << 20)
                if answer.status in _SENT_ON:
                    raise ImageProblem(
                        f"registry {self._place.registry} names {realm[:120]} to sign in at, "
                        "which sends on to another place: nothing is asked there"
                    )
                if answer.status != 200:
                    raise self._refused(answer.status)
            said: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise self._unreachable(error) from error
        return str(said.get("token") or said.get("access_token") or "")

    def _refused(self, status: int) -> ImageProblem:
        place = self._place
        if status in (401, 403):
            return ImageProblem(
                f"registry {place.registry} refuses {place} ({status}): the image is private or "
                "does not exist. Credentials are read from registries.json in the data directory, "
                "then from Docker's config.json (`docker login`)"
            )
        if status == 404:
            return ImageProblem(f"registry {place.registry} has no image {place}")
        if status == 429:
            return ImageProblem(
                f"registry {place.registry} limits how often it is asked; try later"
            )
        return ImageProblem(f"registry {place.registry} answered {status} for {place}")

    def _unreachable(self, error: Exception) -> ImageProblem:
        reason = str(error) or type(error).__name__
        return ImageProblem(f"registry {self._place.registry} could not be read: {reason}")


class _Incomplete(Exception):
    """The connection ended before all had come."""


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _basic(login: Login) -> str:
    return f"Basic {base64.b64encode(f'{login.user}:{login.password}'.encode()).decode()}"


def _already(part: Path, size: int) -> int:
    """Bytes of a part that an earlier download left; one that is too long is removed."""
    try:
        there = part.stat().st_size
    except FileNotFoundError:
        return 0
    if there <= size:
        return there
    part.unlink()
    return 0


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
