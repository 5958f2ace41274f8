"""WireGuard tunnels of sandboxes: ``/network/tunnel`` of the sandbox API.

What runs in a sandbox must not change what its network is, so these calls never get to the API
inside: the gateway hands them over here. The egress process speaks with the peer, under the
sandbox's network rules; the runtime brings the interface. The configuration is kept sealed in a
file, as the tunnel belongs to this machine, until it is ended or its sandbox is: after a crash, a
restart, or a stop of the sandbox the tunnel is made again.
"""

import asyncio
import os
from http import HTTPStatus
from pathlib import Path

import msgspec
import structlog

from serai.compute import records
from serai.compute.controller import SandboxController
from serai.compute.ports import Egress, RunningSandbox
from serai.compute.records import SandboxRow
from serai.egress.setup import EgressProblem, TunnelPlan, TunnelRefused
from serai.kernel.errors import BadRequest, NotFound, SeraiError
from serai.runtime.links import TunnelLink
from serai.runtime.port import RuntimeProblem, SandboxHandle
from serai.store.secrets import Undecryptable, Vault
from serai.wire.sandbox_api import PathAnswer, TunnelRequest
from serai.wire.tunnels import TunnelConfig, key_of, read_tunnel

PLACE = "/network/tunnel"
CONFIG = f"{PLACE}/config"
LARGEST_PACKET = 65_456
"""Bytes that still fit in a datagram, with what is added to them."""
log = structlog.get_logger(__name__)


class TunnelInvalid(SeraiError):
    """The configuration is wrong, or leads where the sandbox must not go (422)."""

    status = 422
    code = "TUNNEL_INVALID"


class TunnelFailed(SeraiError):
    """The platform could not do it (500); the message says why."""

    code = "TUNNEL_FAILED"


class KeptTunnels:
    """The configurations of tunnels, in sealed files by the sandbox's id."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        self._folder = folder
        self._vault = vault

    def put(self, sandbox_id: str, config: TunnelConfig) -> None:
        """Keep it, in place of another one."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        sealed = self._vault.seal(msgspec.json.encode(config), _context(sandbox_id))
        partial = self._folder / f".{sandbox_id}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._folder / sandbox_id)

    def get(self, sandbox_id: str) -> TunnelConfig | None:
        """What is kept of a sandbox; nothing if it cannot be read any more."""
        try:
            sealed = (self._folder / sandbox_id).read_bytes()
            opened = self._vault.unseal(sealed, _context(sandbox_id))
            return msgspec.json.decode(opened, type=TunnelConfig)
        except FileNotFoundError:
            return None
        except (Undecryptable, msgspec.DecodeError) as problem:
            log.warning("tunnel_not_readable", sandbox=sandbox_id, reason=str(problem))
            return None

    def drop(self, sandbox_id: str) -> None:
        """Forget it."""
        (self._folder / sandbox_id).unlink(missing_ok=True)

    def ids(self) -> list[str]:
        """The sandboxes that something is kept of, or half written."""
        if not self._folder.is_dir():
            return []
        return [path.name.removeprefix(".") for path in self._folder.iterdir()]


def _context(sandbox_id: str) -> str:
    return f"tunnel of {sandbox_id}"


class Tunnels:
    """Makes and ends tunnels, and makes them again."""

    def __init__(self, controller: SandboxController, egress: Egress, kept: KeptTunnels) -> None:
        self._controller = controller
        self._egress = egress
        self._kept = kept
        controller.on_start.append(self._on_start)
        controller.networks.on_attach.append(self._on_attach)
        controller.networks.on_forget.append(kept.drop)

    async def answer(
        self, workspace: str, sandbox: str, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        """Status and JSON body of a request; errors as the sandbox API shows them."""
        try:
            if (method, path) == ("PUT", CONFIG):
                await self.connect(workspace, sandbox, _wanted(body))
                said = "Tunnel configuration updated successfully"
            elif (method, path) == ("DELETE", PLACE):
                await self.disconnect(workspace, sandbox)
                said = "Tunnel disconnected"
            else:
                raise NotFound(f"There is no {method[:20]} {path[:80]}: a tunnel is never told.")
        except SeraiError as problem:
            return problem.status, msgspec.json.encode({"error": problem.message})
        return HTTPStatus.OK, msgspec.json.encode(PathAnswer(message=said))

    async def connect(self, workspace: str, sandbox: str, config: TunnelConfig) -> None:
        """Make a tunnel in place of the one there is.

        Raises:
            TunnelInvalid: the sandbox's rules are against the peer; the old one goes on.
            TunnelFailed: this machine or this sandbox cannot have one; none is left.
        """
        async with self._controller.live.lock(workspace, sandbox):
            handle = self._handle(workspace, sandbox)
            try:
                await self._egress.tunnel(handle.id, plan_of(config))
                await asyncio.to_thread(self._kept.put, handle.id, config)
                await self._bring(handle, config, anew=True)
            except TunnelRefused as refusal:
                raise TunnelInvalid(f"invalid tunnel config: {refusal}") from None
            except (RuntimeProblem, EgressProblem) as problem:
                self._kept.drop(handle.id)
                raise TunnelFailed(f"failed to apply tunnel config: {problem}") from problem

    async def disconnect(self, workspace: str, sandbox: str) -> None:
        """End the tunnel: what went through it goes by the network rules again.

        Raises:
            BadRequest: there is none.
            TunnelFailed: its interface cannot be removed; it carries nothing any more.
        """
        async with self._controller.live.lock(workspace, sandbox):
            handle = self._handle(workspace, sandbox)
            if handle.id not in self._kept.ids():
                raise BadRequest("no WireGuard client is running")
            try:
                await self._egress.tunnel(handle.id, None)
                await self._controller.runtime.tunnel(handle, None, anew=True)
            except (RuntimeProblem, EgressProblem) as problem:
                raise TunnelFailed(f"failed to stop tunnel: {problem}") from problem
            self._kept.drop(handle.id)

    async def prune(self) -> None:
        """Forget what a crash left of sandboxes that have ended."""
        if kept := set(self._kept.ids()):
            rows = await self._controller.db.read(records.every)
            living = {row.id for row in rows if row.phase != "terminated"}
            for sandbox_id in kept - living:
                self._kept.drop(sandbox_id)

    async def _on_start(self, row: SandboxRow) -> None:
        if row.handle is not None:
            await self._restore(row.handle)

    async def _on_attach(self, sandbox: RunningSandbox) -> None:
        await self._restore(sandbox.handle)

    async def _restore(self, handle: SandboxHandle) -> None:
        """Make the tunnel again that a sandbox had; the peer may be reached later."""
        config = self._kept.get(handle.id)
        if config is None:
            return
        try:
            await self._egress.tunnel(handle.id, plan_of(config), judged=False)
            await self._bring(handle, config, anew=False)
        except (RuntimeProblem, EgressProblem, TunnelRefused) as problem:
            log.warning("tunnel_not_restored", sandbox=handle.id, reason=str(problem))

    async def _bring(self, handle: SandboxHandle, config: TunnelConfig, *, anew: bool) -> None:
        try:
            await self._controller.runtime.tunnel(handle, link_of(config), anew=anew)
        except RuntimeProblem:
            await self._egress.tunnel(handle.id, None)
            raise

    def _handle(self, workspace: str, sandbox: str) -> SandboxHandle:
        live = self._controller.live.by_name.get((workspace, sandbox))
        if live is None:
            raise TunnelFailed("the sandbox has just ended or gone to sleep; try again")
        return live.sandbox.handle


def _wanted(body: bytes) -> TunnelConfig:
    """The tunnel that is asked for.

    Raises:
        BadRequest, TunnelInvalid: the body is wrong, or what is in it.
    """
    try:
        wanted = msgspec.json.decode(body, type=TunnelRequest)
    except msgspec.DecodeError as error:
        raise BadRequest(f"invalid request body: {error}") from error
    if not wanted.config:
        raise BadRequest("invalid request body: config is required and must not be empty")
    try:
        return read_tunnel(wanted.config)
    except ValueError as error:
        raise TunnelInvalid(f"invalid tunnel config: {error}") from error


def plan_of(config: TunnelConfig) -> TunnelPlan:
    """A tunnel as the egress process sees it."""
    host, port = config.place
    return TunnelPlan(
        private_key=key_of(config.private_key, "private_key"),
        peer_key=key_of(config.peer_public_key, "peer_public_key"),
        host=host,
        port=port,
        address=str(config.own.ip),
        allowed=config.allowed_ips,
        keepalive=config.persistent_keepalive,
    )


def link_of(config: TunnelConfig) -> TunnelLink:
    """A tunnel as the sandbox sees it."""
    return TunnelLink(
        name=config.interface_name,
        address=str(config.own),
        mtu=min(config.mtu, LARGEST_PACKET),
        networks=config.networks,
    )
