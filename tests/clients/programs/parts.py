"""What belongs to a sandbox, through the Python SDK: previews, tokens, sessions, schedules."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import httpx
from blaxel.core import SandboxInstance

MARK = uuid.uuid4().hex[:8]
LATER = timedelta(minutes=10)


async def main() -> None:
    sandbox = await SandboxInstance.create({"name": f"parts-{MARK}", "memory": 512})
    try:
        await previews(sandbox)
        await sessions(sandbox)
        await schedules(sandbox)
    finally:
        await sandbox.delete()
    print("done")


async def previews(sandbox: SandboxInstance) -> None:
    serve = {"command": "python3 -m http.server 3000 -d /tmp", "wait_for_ports": [3000]}
    await sandbox.process.exec(serve)
    wanted = {
        "metadata": {"name": "web"},
        "spec": {"port": 3000, "public": False, "prefix_url": f"web-{MARK}"},
    }
    preview = await sandbox.previews.create(wanted)
    again = await sandbox.previews.create_if_not_exists(wanted)
    assert again.spec.url == preview.spec.url
    assert f"web-{MARK}" in preview.spec.url
    token = await preview.tokens.create(datetime.now(UTC) + LATER)
    assert await status(preview.spec.url) == 401
    assert await status(f"{preview.spec.url}?bl_preview_token={token.value}") == 200
    assert [one.value for one in await preview.tokens.list()] == [token.value]
    await preview.tokens.delete(token.value)
    assert await status(f"{preview.spec.url}?bl_preview_token={token.value}") == 401
    await sandbox.previews.delete("web")
    assert await status(preview.spec.url) == 404
    assert not await sandbox.previews.list()


async def status(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).status_code


async def sessions(sandbox: SandboxInstance) -> None:
    session = await sandbox.sessions.create({"expires_at": datetime.now(UTC) + LATER})
    guest = await SandboxInstance.from_session(session)
    done = await guest.process.exec({"command": "echo guest", "wait_for_completion": True})
    assert "guest" in done.logs, done
    await guest.fs.write("/tmp/guest", "was here")
    assert await sandbox.fs.read("/tmp/guest") == "was here"
    assert [one.name for one in await sandbox.sessions.list()] == [session.name]
    await sandbox.sessions.delete(session.name)


async def schedules(sandbox: SandboxInstance) -> None:
    command = {"command": "echo ticked > /tmp/tick", "timeout": 60}
    assert not list(await sandbox.schedules.list())
    cron = await sandbox.schedules.create(
        {"type": "cron", "value": "0 8 * * 1-5", "input": command}
    )
    once = await sandbox.schedules.create({"type": "sleep", "value": "1s", "input": command})
    assert once.type_.value == "at"
    assert (await sandbox.schedules.get(cron.id)).value == "0 8 * * 1-5"
    while not (runs := list(await sandbox.schedules.executions())):
        await asyncio.sleep(0.1)
    assert (runs[0].schedule_id, runs[0].status_code) == (once.id, 200), runs
    assert [one.id for one in await sandbox.schedules.list()] == [cron.id]
    await sandbox.schedules.delete(cron.id)


asyncio.run(main())
