"""Talks to ``command_server`` inside a sandbox."""

import asyncio

from serai.runtime.port import SandboxHandle


async def shell(handle: SandboxHandle, command: str) -> tuple[int, str]:
    """Run a shell command inside; its exit code and its output, both streams."""
    reader, writer = await asyncio.open_unix_connection(handle.api_socket)
    body = command.encode()
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    answer = await reader.read()
    writer.close()
    head, _, output = answer.partition(b"\r\n\r\n")
    code = int(head.split(b"X-Exit: ")[1].split(b"\r\n")[0])
    return code, output.decode(errors="replace")


async def output(handle: SandboxHandle, command: str) -> str:
    """Output of a command that must succeed."""
    code, text = await shell(handle, command)
    assert code == 0, text
    return text.strip()
