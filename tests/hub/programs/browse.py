"""Creates a sandbox with a browser and uses that from here: IMAGE WAY FOLDER; see browse.mjs.

The page is in the sandbox; FOLDER has Playwright in its ``node_modules``.
"""

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path

from blaxel.core import SandboxInstance
from blaxel.core.common.settings import settings

PAGE = """<p>closed</p><button onclick="this.previousSibling.textContent = 'open'">go</button>"""


async def main(image: str, way: str, folder: str) -> None:
    wanted = {"name": f"browse-{uuid.uuid4().hex[:8]}", "image": image, "memory": 4096}
    sandbox = await SandboxInstance.create(wanted)
    try:
        await sandbox.fs.write("/tmp/site/index.html", PAGE)
        serve = "python3 -m http.server --directory /tmp/site 3000"
        await sandbox.process.exec({"command": serve, "wait_for_ports": [3000]})
        await sandbox.fetch(8081, "/json/version", timeout=60)  # waits until the browser is up
        url = f"{sandbox.metadata.url}/port/8081"
        script = Path(__file__).with_suffix(".mjs")
        command = ["node", str(script), way, url, json.dumps(settings.headers)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        print(done.stdout)
        assert done.returncode == 0, done.stderr
    finally:
        await sandbox.delete()


asyncio.run(main(*sys.argv[1:]))
