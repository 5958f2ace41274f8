"""Programs of jobs that use the official SDKs: uploaded, built, run, told their parameters."""

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs_help import outcome, said
from platform_server import KEY, Server

from .environments import directory

pytestmark = [pytest.mark.clients, pytest.mark.sandbox]
PYTHON = """
import sys
sys.path.insert(0, "vendor")
from blaxel.core.jobs import bl_start_job

async def main(name, times=1):
    if name == "nobody":
        raise ValueError("nobody is called that")
    print(" ".join([f"hello {name}"] * times))

bl_start_job.start(main)
"""
NODE = """
import { blStartJob } from "@blaxel/core";

blStartJob(async ({ name, times = 1 }) => {
  if (name === "nobody") throw new Error("nobody is called that");
  console.log(Array(times).fill(`hello ${name}`).join(" "));
});
"""
START = '{"private": true, "type": "module", "scripts": {"start": "node app/index.mjs"}}'
LEFT_OUT = {"__pycache__", "pip", "setuptools", "@typescript", "typescript", ".bin"}


def installed(folder: Path, below: str) -> Iterator[tuple[str, bytes]]:
    """The files of installed packages, but for what only developers use."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.is_file() and not LEFT_OUT & set(inside.parts):
            yield f"{below}/{inside}", path.read_bytes()


def deploy(server: Server, name: str, files: dict[str, bytes | str]) -> None:
    """Upload code as the CLI does, and wait until it is deployed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    metadata = {"name": name, "labels": {"x-blaxel-auto-generated": "true"}}
    envs = [{"name": "BL_API_KEY", "value": KEY, "secret": True}]  # blStartJob wants to have one
    runtime = {"memory": 2048, "timeout": 300, "envs": envs}
    body = {"metadata": metadata, "spec": {"runtime": runtime}}
    made = server.client.post("/v0/jobs", params={"upload": "true"}, json=body)
    assert (made.status_code, made.json()["status"]) == (200, "UPLOADING"), made.text
    url, kind = made.headers["X-Blaxel-Upload-Url"], {"Content-Type": "application/zip"}
    done = httpx.put(url, content=packed.getvalue(), headers=kind, trust_env=False, timeout=100)
    assert done.status_code == 200, done.text
    deadline = time.monotonic() + 110
    while (shown := server.client.get(f"/v0/jobs/{name}").json())["status"] != "DEPLOYED":
        assert shown["status"] != "FAILED", shown["events"][-1]
        assert time.monotonic() < deadline, shown
        time.sleep(0.2)


def check(server: Server, name: str) -> None:
    """Each task gets its own parameters, and a failure is one."""
    tasks = [{"name": "Ada"}, {"name": "Grace", "times": 2}, {"name": "nobody"}]
    done = outcome(server.client, name, tasks=tasks)
    assert [task["status"] for task in done["tasks"]] == ["succeeded", "succeeded", "failed"], [
        said(task) for task in done["tasks"]
    ]
    assert "nobody is called that" in said(done["tasks"][2])
    params = {"resourceType": "jobs", "workloadIds": name, "type": "task"}
    deadline = time.monotonic() + 30
    while "hello Grace hello Grace" not in (
        text := server.client.get("/v0/observability/logs", params=params).text
    ):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)


def test_a_program_with_the_python_sdk(server: Server) -> None:
    environment = directory("py", "0.4.24")
    (packages,) = environment.glob("lib/python3*/site-packages")
    toml = 'type = "job"\n\n[entrypoint]\nprod = "python3 main.py"\n'
    files: dict[str, bytes | str] = {"main.py": PYTHON, "blaxel.toml": toml}
    deploy(server, "python-program", files | dict(installed(packages, "vendor")))
    check(server, "python-program")


def test_a_program_with_the_typescript_sdk(server: Server) -> None:
    modules = directory("ts", "0.3.21") / "node_modules"
    toml = 'type = "job"\n\n[entrypoint]\nprod = "node app/index.mjs"\n'
    files: dict[str, bytes | str] = {"package.json": START, "blaxel.toml": toml}
    files["app/index.mjs"] = NODE
    deploy(server, "node-program", files | dict(installed(modules, "app/node_modules")))
    check(server, "node-program")
