"""What the Python SDK reports when its key is not one of this server."""

import asyncio
from collections.abc import Awaitable, Callable

from blaxel.core import SandboxInstance
from blaxel.core.client import client
from blaxel.core.client.api.models import get_model
from blaxel.core.client.models import Error
from blaxel.core.sandbox import SandboxAPIError


async def failure(call: Callable[[], Awaitable[object]]) -> SandboxAPIError:
    try:
        result = await call()
    except SandboxAPIError as error:
        return error
    raise AssertionError(f"no error but {result!r}")


async def main() -> None:
    for call in (
        lambda: SandboxInstance.get("any"),
        lambda: SandboxInstance.list(),
        lambda: SandboxInstance.create({"name": "any"}),
    ):
        error = await failure(call)
        assert (error.status_code, error.code) == (401, "AUTHENTICATION_FAILED"), vars(error)
    refused = await get_model.asyncio(client=client, model_name="any")
    assert isinstance(refused, Error), refused
    assert refused.code == 401, refused
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
