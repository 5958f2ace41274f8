"""The gateway under load: ``python -m bench.gateway.server PORT UPSTREAM_PORT``."""

import gc
import hashlib
import os
import signal
import sys
from typing import Any

import uvicorn

from bench.gateway.comparison import KEY
from serai.gateway.gateway import Gateway
from serai.gateway.protocol import gateway_protocol
from serai.gateway.routes import ModelRoute, RouteTable, SandboxRoute
from serai.gateway.usage import ModelUsage
from serai.identity.principal import Principal
from serai.kernel.errors import AuthenticationFailed


def digest(token: str) -> bytes:
    return hashlib.blake2b(token.encode(), digest_size=16).digest()


class Keys:
    """Looks hashed keys up in memory, as the server does after a first verification."""

    def __init__(self) -> None:
        principal = Principal(
            subject="u",
            email="a@b.c",
            account_id="acc",
            account_admin=True,
            workspaces={"main": "admin"},
            credential_id="k",
        )
        self._known = {digest(KEY): principal}

    def cached(self, token: str) -> Principal | None:
        return self._known.get(digest(token))

    async def verify(self, token: str) -> Principal:
        raise AuthenticationFailed("The key is unknown.")


class Ledger:
    """Collects usage; emptied now and then as the writer thread would do."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, ModelUsage]] = []

    def add(self, route: ModelRoute, caller: Principal, usage: ModelUsage) -> None:
        self.rows.append((route.resource_id, caller.credential_id, usage))
        if len(self.rows) >= 10_000:
            # a client that left (499) has no count; anything else must
            if not all(row[2].counted or row[2].status == 499 for row in self.rows):
                os.kill(os.getpid(), signal.SIGKILL)
            self.rows.clear()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """No management API here."""


def ignore(route: SandboxRoute) -> None:
    """No sandboxes here."""


def main() -> None:
    """Serve until terminated."""
    port, upstream = int(sys.argv[1]), int(sys.argv[2])
    routes = RouteTable()
    routes.models["main", "bench"] = ModelRoute(
        account_id="acc",
        workspace="main",
        name="bench",
        resource_id="m1",
        provider="openai",
        base_url=f"http://127.0.0.1:{upstream}/v1",
        api_key="sk-provider",
        model="provider-model",
    )
    gateway = Gateway(routes, Keys(), on_model_usage=Ledger().add, on_sandbox_activity=ignore)
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    uvicorn.run(
        app,
        port=port,
        http=gateway_protocol(gateway),
        loop="uvloop",
        lifespan="off",
        log_level="critical",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
