"""What a sandbox's own API offers beyond commands and files, through the Python SDK."""

import asyncio
import uuid

from blaxel.core.common.settings import settings
from blaxel.core.sandbox import SandboxInstance
from blaxel.core.sandbox.client.api.network import delete_network_tunnel, put_network_tunnel_config
from blaxel.core.sandbox.client.client import Client
from blaxel.core.sandbox.client.models import TunnelConfigRequest
from blaxel.core.tools import bl_tools


async def tools(name: str) -> None:
    wrapper = bl_tools([f"sandbox/{name}"])
    await wrapper.initialize()
    found = {tool.name: tool for tool in wrapper.get_tools()}
    assert len(found) == 21, sorted(found)
    said = await found["processExecute"].coroutine(
        command="echo from-a-tool; pwd", waitForCompletion=True
    )
    assert "from-a-tool" in str(said), said
    await found["fsWriteFile"].coroutine(path="/tmp/t.txt", content="one")
    await found["fsEditFile"].coroutine(path="/tmp/t.txt", oldString="one", newString="two")
    assert "two" in str(await found["fsReadFile"].coroutine(path="/tmp/t.txt"))
    assert "no such file" in str(await found["fsReadFile"].coroutine(path="/none"))


async def code(sandbox: SandboxInstance) -> None:
    await sandbox.fs.write("/tmp/app.py", "import os\n\nprint(1)\n")
    edit = "# ... existing code ...\n\nprint(1)\nprint(2)\n"
    applied = await sandbox.codegen.fastapply("/tmp/app.py", edit)
    assert applied.success, applied
    assert await sandbox.fs.read("/tmp/app.py") == "import os\n\nprint(1)\nprint(2)\n"
    ranked = await sandbox.codegen.reranking("/tmp", "what does the app print?", 0.01, 1000)
    assert any(file.path.endswith("app.py") for file in ranked.files), ranked


async def newer(sandbox: SandboxInstance) -> None:
    """What only newer releases of the SDK have."""
    await sandbox.process.exec({"name": "cat", "command": "cat", "stdin": True})
    await sandbox.process.write_stdin("cat", "typed é\n")
    await sandbox.process.close_stdin("cat")
    done = await sandbox.process.wait("cat")
    assert (done.status, done.stdout) == ("completed", "typed é\n"), done

    files = [{"path": "a/b.txt", "content": "deep"}, {"path": "c.md", "content": "top"}]
    await sandbox.fs.write_tree(files, "/tmp/tree")
    tree = await sandbox.fs.read_tree("/tmp/tree")
    assert {file.path: file.content for file in tree.files} == {
        "/tmp/tree/a/b.txt": "deep",
        "/tmp/tree/c.md": "top",
    }
    await sandbox.fs.cp("/tmp/tree", "/tmp/copied", no_overwrite=True)
    assert await sandbox.fs.read("/tmp/copied/a/b.txt") == "deep"
    try:
        await sandbox.fs.cp("/tmp/tree/c.md", "/tmp/copied/c.md", no_overwrite=True)
    except FileExistsError:
        pass
    else:
        raise AssertionError("a file was replaced")


async def system(sandbox: SandboxInstance) -> None:
    await sandbox.process.exec({"name": "through", "command": "sleep 30"})
    await sandbox.system.upgrade()
    for _ in range(50):
        health = await sandbox.system.health()
        if health.upgrade_count:
            break
        await asyncio.sleep(0.1)
    assert health.upgrade_count == 1
    assert (await sandbox.process.get("through")).status == "running"
    assert await sandbox.drives.list() == []


async def tunnel(sandbox: SandboxInstance) -> None:
    """The platform answers; a real one needs a peer."""
    client = Client(base_url=sandbox.metadata.url, headers=settings.headers)
    none = await delete_network_tunnel.asyncio(client=client)
    assert none.error == "no WireGuard client is running", none
    wanted = TunnelConfigRequest(config="e30=")
    wrong = await put_network_tunnel_config.asyncio(client=client, body=wanted)
    assert wrong.error.startswith("invalid tunnel config: "), wrong


async def main() -> None:
    name = f"api-{uuid.uuid4().hex[:8]}"
    sandbox = await SandboxInstance.create({"name": name, "memory": 512})
    try:
        await tools(name)
        await code(sandbox)
        await system(sandbox)
        await tunnel(sandbox)
        if hasattr(sandbox.process, "write_stdin"):
            await newer(sandbox)
    finally:
        await sandbox.delete()
    print("done", flush=True)


asyncio.run(main())
