"""An app with hot module replacement, by Vite in a sandbox."""

import io
import tarfile
from pathlib import Path

import httpx
import pytest

MODULES = Path(__file__).parents[2] / ".cache" / "clients" / "vite"
FILES = {
    "index.html": '<!doctype html><title>app</title><link rel="icon" href="data:,">'
    '<h1 id="text"></h1><script type="module" src="/main.js"></script>',
    "main.js": "import { message } from './message.js';\n"
    "const text = document.querySelector('#text');\n"
    "text.textContent = message;\n"
    "import.meta.hot.accept('./message.js', (fresh) => { text.textContent = fresh.message; });\n",
    "message.js": "export const message = 'one';\n",
    "package.json": '{"type": "module"}',
}
COMMAND = "node node_modules/vite/bin/vite.js --host 0.0.0.0 --port 3000 --strictPort"


def packed() -> bytes:
    """Vite and the app as a tar archive."""
    if not (MODULES / ".ready").exists():
        pytest.skip("NOT TESTED: hot reload; Vite is not installed: run `make clients`")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(MODULES / "node_modules", "app/node_modules")
        for name, text in FILES.items():
            info = tarfile.TarInfo(f"app/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


class ViteApp:
    """The app in one sandbox."""

    def __init__(self, api: httpx.Client, box: str) -> None:
        self.api = api
        self.inside = f"/main/sandboxes/{box}"
        files = {"file": ("app.tar", packed(), "application/octet-stream")}
        self._done(api.put(f"{self.inside}/filesystem//tmp/app.tar", files=files))
        unpack = {"command": "tar xf app.tar", "workingDir": "/tmp", "waitForCompletion": True}
        unpacked = self._done(api.post(f"{self.inside}/process", json=unpack)).json()
        assert unpacked["exitCode"] == 0, unpacked
        serve = {
            "command": COMMAND,
            "workingDir": "/tmp/app",
            "waitForPorts": [3000],
            "timeout": 60,
        }
        self._done(api.post(f"{self.inside}/process", json=serve))

    def say(self, text: str) -> None:
        """Change what the page says."""
        body = {"content": f"export const message = '{text}';\n"}
        self._done(self.api.put(f"{self.inside}/filesystem//tmp/app/message.js", json=body))

    @staticmethod
    def _done(answer: httpx.Response) -> httpx.Response:
        assert answer.status_code == 200, answer.text
        return answer
