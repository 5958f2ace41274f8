"""Creates a sandbox with a desktop and looks at its screen as a VNC client does: IMAGE.

Prints the screen's size, how many colours it shows, and whether a window that is opened is seen.
"""

import asyncio
import hashlib
import struct
import sys
import uuid

import websockets
from blaxel.core import SandboxInstance
from blaxel.core.common.settings import settings

OPEN = "xfce4-terminal --title inn --hide-menubar"
WAIT = "xdotool search --sync --onlyvisible --name '^inn$'"
UP = "xdotool search --sync --onlyvisible --class xfce4-panel"


class Screen:
    """A client of the RFB protocol (RFC 6143), through the WebSocket of noVNC."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._buffer = b""
        self.width = self.height = 0

    async def start(self) -> None:
        assert await self._take(12) == b"RFB 003.008\n"
        await self._socket.send(b"RFB 003.008\n")
        kinds = await self._take((await self._take(1))[0])
        assert 1 in kinds, f"a password is asked for: {kinds!r}"
        await self._socket.send(b"\x01")
        assert await self._take(4) == bytes(4)
        await self._socket.send(b"\x01")
        self.width, self.height = struct.unpack(">HH", await self._take(4))
        await self._take(16)
        await self._take(struct.unpack(">I", await self._take(4))[0])
        plain = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        await self._socket.send(b"\0\0\0\0" + plain)
        await self._socket.send(struct.pack(">BBHi", 2, 0, 1, 0))  # raw pixels only

    async def look(self) -> tuple[int, str]:
        """How many different colours the whole screen shows now, and what tells it from others."""
        await self._socket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        found: set[bytes] = set()
        seen = hashlib.sha256()
        assert (await self._take(1))[0] == 0
        count = struct.unpack(">xH", await self._take(3))[0]
        for _ in range(count):
            _, _, width, height, encoding = struct.unpack(">HHHHi", await self._take(12))
            assert encoding == 0
            pixels = await self._take(width * height * 4)
            found |= {pixels[at : at + 3] for at in range(0, len(pixels), 4)}
            seen.update(pixels)
        return len(found), seen.hexdigest()

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await asyncio.wait_for(self._socket.recv(), 60)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


async def main(image: str) -> None:
    wanted = {"name": f"desk-{uuid.uuid4().hex[:8]}", "image": image, "memory": 4096}
    sandbox = await SandboxInstance.create(wanted)
    try:
        page = await sandbox.fetch(6901, "/vnc.html", timeout=60)
        assert "noVNC" in page.text
        up = {"command": UP, "wait_for_completion": True, "timeout": 60}
        assert (await sandbox.process.exec(up)).exit_code == 0
        url = f"{sandbox.metadata.url}/port/6901/websockify".replace("http", "ws", 1)
        headers = settings.headers
        async with websockets.connect(url, additional_headers=headers, max_size=None) as socket:
            screen = Screen(socket)
            await screen.start()
            while (before := await screen.look())[0] < 500:  # the backdrop is not drawn yet
                await asyncio.sleep(0.5)
            print(f"{screen.width}x{screen.height}", before[0])
            await sandbox.process.exec({"command": OPEN})
            shown = {"command": WAIT, "wait_for_completion": True, "timeout": 60}
            assert (await sandbox.process.exec(shown)).exit_code == 0
            while (await screen.look())[1] == before[1]:
                await asyncio.sleep(0.5)
            print("changed")
        if "cua" in image:
            await _ask_the_computer_server(sandbox)
    finally:
        await sandbox.delete()


async def _ask_the_computer_server(sandbox: SandboxInstance) -> None:
    async def command(name: str, **params: object) -> str:
        asked = {"command": name, "params": params}
        answer = await sandbox.fetch(8000, "/cmd", method="POST", json=asked, timeout=60)
        return answer.text

    await command("move_cursor", x=321, y=123)
    where = await sandbox.process.exec(
        {"command": "xdotool getmouselocation", "wait_for_completion": True}
    )
    print(where.logs.strip())
    picture = await command("screenshot")
    print("a picture" if len(picture) > 5000 and "iVBORw0KGgo" in picture else picture[:500])


asyncio.run(main(sys.argv[1]))
