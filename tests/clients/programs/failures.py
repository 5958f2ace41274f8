"""Errors as the Python SDK's own exception classes, with the right status and code."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from blaxel.core import SandboxInstance
from blaxel.core.client import client
from blaxel.core.client.api.compute import create_sandbox, get_sandbox
from blaxel.core.client.api.policies import get_policy
from blaxel.core.client.errors import UnexpectedStatus
from blaxel.core.client.models import Error, Sandbox, SandboxError
from blaxel.core.sandbox import SandboxAPIError, SyncSandboxInstance
from blaxel.core.sandbox.sync.sandbox import SandboxAPIError as SyncSandboxAPIError
from blaxel.core.sandbox.types import ResponseError

MARK = uuid.uuid4().hex[:8]
NAME = f"errors-{MARK}"


async def failure(call: Callable[[], Awaitable[object]], kind: Any = SandboxAPIError) -> Any:
    try:
        result = await call()
    except kind as error:
        return error
    raise AssertionError(f"no error but {result!r}")


def sync_failure(call: Callable[[], object], kind: Any = SyncSandboxAPIError) -> Any:
    try:
        result = call()
    except kind as error:
        return error
    raise AssertionError(f"no error but {result!r}")


async def main() -> None:
    missing = await failure(lambda: SandboxInstance.get("absent"))
    assert (missing.status_code, missing.code) == (404, "SANDBOX_NOT_FOUND"), vars(missing)
    assert "absent" in str(missing)
    undeletable = await failure(lambda: SandboxInstance.delete("absent"))
    assert undeletable.status_code == 404, vars(undeletable)

    image = await failure(lambda: SandboxInstance.create({"name": NAME, "image": "no/such:1"}))
    assert (image.status_code, image.code) == (400, "INVALID_IMAGE"), vars(image)
    assert "no/such:1" in str(image)
    assert (await failure(lambda: SandboxInstance.get(NAME))).status_code == 404
    name = await failure(lambda: SandboxInstance.create({"name": "Not_A Name"}))
    assert name.status_code == 400, vars(name)
    memory = await failure(lambda: SandboxInstance.create({"name": NAME, "memory": 1}))
    assert memory.status_code == 400, vars(memory)
    assert "spec.runtime.memory" in str(memory)

    sandbox = await SandboxInstance.create({"name": NAME, "memory": 256})
    try:
        taken = await failure(lambda: SandboxInstance.create({"name": NAME, "memory": 256}))
        assert (taken.status_code, taken.code) == (409, "SANDBOX_ALREADY_EXISTS"), vars(taken)
        await inside(sandbox)
        await asyncio.to_thread(synchronous)
    finally:
        await sandbox.delete()
    await asyncio.to_thread(generated)
    print("done")


async def inside(sandbox: SandboxInstance) -> None:
    """Errors of the sandbox's own API."""
    unread = await failure(lambda: sandbox.fs.read("/tmp/absent"), ResponseError)
    assert unread.response.status_code == 404, vars(unread)
    assert "absent" in unread.data["error"], unread.data
    unknown = await failure(lambda: sandbox.process.get("absent"), ResponseError)
    assert unknown.response.status_code == 404, vars(unknown)
    assert (await sandbox.fetch(3999, "/")).status_code == 502


def synchronous() -> None:
    taken = sync_failure(lambda: SyncSandboxInstance.create({"name": NAME, "memory": 256}))
    assert (taken.status_code, taken.code) == (409, "SANDBOX_ALREADY_EXISTS"), vars(taken)
    missing = sync_failure(lambda: SyncSandboxInstance.get("absent"))
    assert (missing.status_code, missing.code) == (404, "SANDBOX_NOT_FOUND"), vars(missing)


def generated() -> None:
    """The generated functions answer declared errors as values and raise the others."""
    missing = get_sandbox.sync(client=client, sandbox_name="absent")
    assert isinstance(missing, Error), missing
    assert (missing.code, missing.error) == (404, "SANDBOX_NOT_FOUND"), missing
    wanted = {"metadata": {"name": NAME}, "spec": {"runtime": {"image": "no/such:1"}}}
    refused = create_sandbox.sync(client=client, body=Sandbox.from_dict(wanted))
    assert isinstance(refused, SandboxError), refused
    assert (refused.status_code, refused.code) == (400, "INVALID_IMAGE"), refused
    undeclared = sync_failure(
        lambda: get_policy.sync(client=client, policy_name="absent"), UnexpectedStatus
    )
    assert undeclared.status_code == 404, vars(undeclared)


if __name__ == "__main__":
    asyncio.run(main())
