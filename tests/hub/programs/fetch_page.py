"""Creates a sandbox and asks at once for a page of the server in it: IMAGE PORT PATH; prints it.

Then a file of the page is changed, and the page must follow: FILE OLD NEW.
"""

import asyncio
import sys
import uuid

from blaxel.core import SandboxInstance


async def main(image: str, port: int, path: str, file: str, old: str, new: str) -> None:
    wanted = {"name": f"page-{uuid.uuid4().hex[:8]}", "image": image, "memory": 4096}
    sandbox = await SandboxInstance.create(wanted)
    try:
        page = await sandbox.fetch(port, path, timeout=120)
        for _ in range(12):
            if page.status_code != 504:  # not up yet, to be tried again
                break
            page = await sandbox.fetch(port, path, timeout=120)
        print(page.status_code, page.text)
        if not file:
            return
        text = await sandbox.fs.read(file)
        assert old in text
        await sandbox.fs.write(file, text.replace(old, new))
        for _ in range(60):
            page = await sandbox.fetch(port, path, timeout=60)
            if new in page.text:
                print("followed")
                return
            await asyncio.sleep(0.5)
    finally:
        await sandbox.delete()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
