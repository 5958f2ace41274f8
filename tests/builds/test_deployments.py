"""Real projects through the official clients, up to an image that runs."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clients.blaxel_cli import Cli, is_built
from clients.environments import directory
from oci_images import ImageFiles, RegistryServer, entry, static_busybox, tar
from platform_server import COMMAND, KEY, Server, environment
from projects import deploy, last_message, settled, unique, write, zipped

pytestmark = [pytest.mark.sandbox, pytest.mark.builds, pytest.mark.timeout(600)]
CREDENTIALS = {"BL_API_KEY": KEY, "BL_WORKSPACE": "main"}
PROGRAMS = Path(__file__).parent / "programs"
FASTAPI = """\
import os

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def greet() -> dict[str, str]:
    return {"greeting": "GREETING"}


if __name__ == "__main__":
    uvicorn.run(app, host=os.environ["HOST"], port=int(os.environ["PORT"]))
"""
EXPRESS = """\
import express from "express";

const app = express();
app.get("/", (_request: unknown, answer: any) => answer.json({ greeting: "typed" }));
app.listen(Number(process.env.PORT), process.env.HOST ?? "0.0.0.0");
"""


@pytest.fixture
def bl(tmp_path: Path, server: Server) -> Cli:
    if not is_built():
        pytest.skip("NOT TESTED WITH THE REAL CLI, which is not built (see `make clients`)")
    return Cli(tmp_path / "home", server)


def command_line(bl: Cli, folder: Path, *arguments: str) -> str:
    """Run `bl` in a project."""
    from clients.blaxel_cli import PROGRAM

    done = subprocess.run(
        [str(PROGRAM), *arguments],
        cwd=folder,
        env=bl.environ(**CREDENTIALS),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def answers(server: Server, name: str) -> Any:
    """What a deployed agent answers, once its new revision serves."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = server.client.get(f"/v0/agents/{name}").json()
        if found["status"] != "DEPLOYING":
            break
        time.sleep(0.2)
    assert found["status"] == "DEPLOYED", last_message(found)
    answer = server.client.get(f"/main/agents/{name}/")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_fastapi_agent_by_the_cli(bl: Cli, server: Server, project: Path) -> None:
    name = unique("fastapi")
    files = {
        "main.py": FASTAPI.replace("GREETING", "one"),
        "requirements.txt": "fastapi==0.115.*\nuvicorn\n",
        "blaxel.toml": f'name = "{name}"\ntype = "agent"\n\n[runtime]\nmemory = 1024\n',
    }
    write(project, files)
    printed = command_line(bl, project, "deploy", "-y")
    document, seen = settled(server.client, f"/v0/agents/{name}", 300)
    assert document["status"] in {"DEPLOYING", "DEPLOYED"}, (printed, last_message(document))
    assert "BUILDING" in seen
    assert answers(server, name) == {"greeting": "one"}
    write(project, {"main.py": FASTAPI.replace("GREETING", "two")})
    began = time.monotonic()
    command_line(bl, project, "deploy", "-y")
    settled(server.client, f"/v0/agents/{name}", 300)
    again = time.monotonic() - began
    assert answers(server, name) == {"greeting": "two"}
    lines = _lines(server, "agents", name)
    assert any("Installed" in line and "packages" in line for line in lines), lines
    assert any("taking the layer of an earlier build" in line for line in lines), (again, lines)
    images = server.data_dir / "images/layers"
    assert len(list(images.iterdir())) < 8


def test_a_project_with_a_lock_file_of_uv(server: Server, project: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("NOT TESTED: needs uv beside this Python")
    toml = (
        '[project]\nname = "locked"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        'dependencies = ["fastapi", "uvicorn", "greeter"]\n\n'
        '[tool.uv.sources]\ngreeter = { path = "greeter" }\n'
    )
    inner = (
        '[project]\nname = "greeter"\nversion = "0.1.0"\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    files = {
        "pyproject.toml": toml,
        "greeter/pyproject.toml": inner,
        "greeter/greeter/__init__.py": 'GREETING = "locked"\n',
        "main.py": FASTAPI.replace('"GREETING"', "GREETING").replace(
            "import os", "import os\n\nfrom greeter import GREETING"
        ),
        "blaxel.toml": '[entrypoint]\nprod = "uvicorn main:app --host $HOST --port $PORT"\n',
    }
    write(project, files)
    subprocess.run([str(uv), "lock", "-q"], cwd=project, check=True)
    document, _ = deploy(
        server.client, "agents", unique("locked"), files | {"uv.lock": _read(project / "uv.lock")}
    )
    assert document["status"] in {"DEPLOYING", "DEPLOYED"}, last_message(document)
    name = document["metadata"]["name"]
    assert answers(server, name) == {"greeting": "locked"}


@pytest.mark.parametrize("manager", ["npm", "pnpm", "yarn"])
def test_an_express_agent_in_typescript(manager: str, server: Server, project: Path) -> None:
    package = {
        "name": "express-agent",
        "version": "1.0.0",
        "type": "module",
        "scripts": {"build": "tsc", "start": "node dist/server.js", "prepare": "test -d src"},
        "dependencies": {"express": "^4.21.0"},
        "devDependencies": {"typescript": "^5.6.0", "@types/express": "^4.17.0"},
    }
    options = {"outDir": "dist", "rootDir": "src", "module": "nodenext", "skipLibCheck": True}
    options |= {"moduleResolution": "nodenext", "target": "es2022", "strict": False}
    files: dict[str, str] = {
        "package.json": json.dumps(package),
        "tsconfig.json": json.dumps({"compilerOptions": options, "include": ["src"]}),
        "src/server.ts": EXPRESS,
    }
    write(project, files)
    files |= _lock(manager, project)
    name = unique("express")
    document, _ = deploy(server.client, "agents", name, files)
    assert document["status"] in {"DEPLOYING", "DEPLOYED"}, (
        last_message(document),
        _lines(server, "agents", name)[-20:],
    )
    assert answers(server, name) == {"greeting": "typed"}


def test_a_push_by_the_cli(bl: Cli, server: Server, project: Path) -> None:
    name = unique("pushed")
    write(project, {"main.py": "print('hello')", "requirements.txt": "idna\n"})
    printed = command_line(bl, project, "push", "-y", "-t", "agent", "-n", name)
    found = server.client.get(f"/v0/images/agent/{name}").json()
    assert found["metadata"]["status"] == "BUILT", printed
    assert found["spec"]["tagCount"] == 1
    assert name in command_line(bl, project, "get", "images")


def test_an_image_builder_of_the_sdk(server: Server, store: RegistryServer, tmp_path: Path) -> None:
    if shutil.which("podman") is None:
        pytest.skip("NOT TESTED: needs podman")
    links = [entry(f"bin/{name}", type=b"2", linkname="busybox") for name in ("sh", "cat", "echo")]
    binary = entry("bin/busybox", static_busybox(), mode=0o755)
    files = ImageFiles(tar(entry("bin", type=b"5"), binary, *links), Env=["PATH=/bin"])
    base = store.push(files, "team/base", "v1")
    python = directory("py", "0.4.24") / "bin/python"
    script = tmp_path / "build_image.py"
    script.write_bytes((PROGRAMS / "build_image.py").read_bytes())
    done = subprocess.run(
        [*COMMAND, "exec", *server.options(), "--", str(python), str(script), base, unique("sdk")],
        cwd=tmp_path,
        env=environment(SERAI_ADMIN_API_KEY=KEY, HOME=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    assert "built by the SDK" in done.stdout


def test_a_folder_that_is_no_project_is_refused_by_name(server: Server) -> None:
    bomb = zipped({"zeros": bytes(90 << 20)})
    assert len(bomb) < 1 << 20
    wanted = {"name": unique("bomb"), "resourceType": "agent"}
    answer = server.client.post("/v0/images?upload=true", json=wanted)
    from projects import send

    assert send(answer, bomb).status_code == 200
    path = f"/v0/images/agent/{wanted['name']}"
    found, _ = settled(server.client, path)
    assert "'zeros': it looks like a bomb" in found["events"][-1]["message"]


def _lines(server: Server, kind: str, name: str) -> list[str]:
    """The build's lines, as the official CLI asks for them; newest first."""
    query = {
        "resourceType": kind,
        "workloadIds": name,
        "type": "all",
        "limit": "1000",
        "severity": "FATAL,ERROR,WARNING,INFO,DEBUG,TRACE,UNKNOWN",
        "start": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 3600)),
        "end": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3600)),
    }
    found = server.client.get("/v0/observability/logs", params=query).json()
    return [line["message"] for line in reversed(found[name]["logs"])]


def _lock(manager: str, project: Path) -> dict[str, str]:
    """A lock file of a package manager, made here."""
    commands = {
        "npm": (["npm", "install", "--package-lock-only", "--ignore-scripts"], "package-lock.json"),
        "pnpm": (["npx", "-y", "pnpm@10", "install", "--lockfile-only"], "pnpm-lock.yaml"),
        "yarn": (["npx", "-y", "yarn@1", "install", "--ignore-scripts"], "yarn.lock"),
    }
    command, name = commands[manager]
    environ = os.environ | {"CI": "true", "npm_config_cache": str(project / ".npm")}
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return {name: _read(project / name)}


def _read(path: Path) -> str:
    return path.read_text()
