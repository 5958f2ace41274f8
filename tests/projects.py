"""Projects to deploy, and deploying them as the official clients do."""

import io
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

SETTLED = frozenset({"DEPLOYING", "DEPLOYED", "FAILED"})
SECONDS = 90.0
Files = Mapping[str, bytes | str]


def zipped(files: Files, modes: Mapping[str, int] | None = None) -> bytes:
    """A zip file of these files; ``modes`` are st_mode values by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def write(folder: Path, files: Files) -> Path:
    """The same as files in a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def body(name: str, **labels: str) -> dict[str, Any]:
    """What clients apply before an upload: no image, and a label that says so."""
    marked = {"x-blaxel-auto-generated": "true"} | labels
    return {"metadata": {"name": name, "labels": marked}, "spec": {"runtime": {"memory": 1024}}}


def announce(api: httpx.Client, kind: str, name: str, **labels: str) -> httpx.Response:
    """Apply with ``?upload=true``: PUT, and POST where there is none."""
    wanted = body(name, **labels)
    answer = api.put(f"/v0/{kind}/{name}?upload=true", json=wanted)
    if answer.status_code == 404:
        answer = api.post(f"/v0/{kind}?upload=true", json=wanted)
    return answer


def send(answer: httpx.Response, archive: bytes) -> httpx.Response:
    """Upload by the URL of an answer, without any credential."""
    headers = {"Content-Type": "application/zip"}
    url = answer.headers["X-Blaxel-Upload-Url"]
    return httpx.put(url, content=archive, headers=headers, timeout=60, trust_env=False)


def settled(api: httpx.Client, path: str, seconds: float = SECONDS) -> tuple[Any, list[str]]:
    """A document once its build has ended, and the statuses that were seen on the way."""
    seen: list[str] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = api.get(path).json()
        status = found.get("status") or found["metadata"]["status"]
        if not seen or seen[-1] != status:
            seen.append(status)
        goes_on = "/sandboxes/" in path and status == "DEPLOYING"
        if status in SETTLED | {"BUILT"} and not goes_on:
            return found, seen
        time.sleep(0.1)
    raise AssertionError(f"{path} did not settle: {seen}")


def deploy(
    api: httpx.Client, kind: str, name: str, files: Files, **labels: str
) -> tuple[Any, list[str]]:
    """Announce, upload, and wait for the end of the build."""
    answer = announce(api, kind, name, **labels)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "UPLOADING"
    assert send(answer, zipped(files)).status_code == 200
    return settled(api, f"/v0/{kind}/{name}")


def last_message(document: Any) -> str:
    """What the newest event of a document says."""
    return str(document["events"][-1]["message"])


def unique(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{os.urandom(4).hex()}"
