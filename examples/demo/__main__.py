"""The driver: a server of its own, a model server, and the example program between them.

Usage: ``python -m examples.demo [--llm] [--data-dir DIR]``; `make demo` installs what it needs.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.demo.echo_model import EchoModel

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache"
READY_SECONDS = 60
STOP_SECONDS = 15


def main() -> int:
    """Run the demo; the exit code is the program's."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with contextlib.ExitStack() as running:
            server = running.enter_context(_server(arguments.data_dir))
            model = running.enter_context(_small_model() if arguments.llm else _echo())
            return _program(arguments.client_python, server, model)
    except DemoProblem as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class DemoProblem(Exception):
    """The demo cannot run here; the message says what to do."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--llm", action="store_true", help="a small language model, not an echo")
    parser.add_argument("--data-dir", type=Path, help="of a running Serai; else one is started")
    parser.add_argument(
        "--client-python",
        type=Path,
        default=CACHE / "clients/py-0.4.24/bin/python",
        help="a Python with the package blaxel",
    )
    arguments = parser.parse_args()
    if not arguments.client_python.exists():
        parser.error(f"{arguments.client_python} does not exist; `make demo` installs it")
    return arguments


@contextlib.contextmanager
def _server(data_dir: Path | None) -> Iterator[Path]:
    """The data directory of a running Serai: the one given, or a throw-away one."""
    if data_dir is not None:
        yield data_dir.absolute()
        return
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="demo-", dir=CACHE, ignore_cleanup_errors=True) as name:
        shutil.copy(HERE / "prices.toml", Path(name, "prices.toml"))
        port = _free_port()
        command = [_serai(), "up", "--no-banner", "--port", str(port), "--data-dir", name]
        with _process(command, Path(name, "demo.log")) as server:
            _wait_ready(server, port, Path(name, "demo.log"))
            yield Path(name)


@contextlib.contextmanager
def _echo() -> Iterator[dict[str, str]]:
    with EchoModel() as model:
        yield {
            "DEMO_MODEL_URL": model.base_url,
            "DEMO_MODEL_NAME": "echo",
            "DEMO_NOTE": "the model is an echo server; `make demo-llm` has a real one",
        }


@contextlib.contextmanager
def _small_model() -> Iterator[dict[str, str]]:
    python = CACHE / "llm-venv/bin/python"
    if not python.exists():
        raise DemoProblem(f"{python} does not exist; `make demo-llm` installs it")
    port, log = _free_port(), CACHE / "small-model.log"
    command = [str(python), str(HERE / "small_model.py"), "--port", str(port)]
    with _process(command, log) as server:
        _wait_ready(server, port, log)
        yield {
            "DEMO_MODEL_URL": f"http://127.0.0.1:{port}/v1",
            "DEMO_MODEL_NAME": "smollm2-135m",
            "DEMO_NOTE": "the model is SmolLM2-135M on this machine's CPU: small, so often wrong",
        }


def _program(python: Path, data_dir: Path, model: dict[str, str]) -> int:
    command = [
        _serai(),
        "exec",
        "--data-dir",
        str(data_dir),
        "--",
        str(python.absolute()),
        "program.py",
    ]
    environment = {**os.environ, **model, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=HERE, env=environment)
    try:
        return process.wait()
    finally:
        _end(process)


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, so that Ctrl-C reaches it only through us."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while _health(port) is None:
        if server.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-20:]
            raise DemoProblem("a server did not start:\n" + "\n".join(lines))
        time.sleep(0.05)


def _health(port: int) -> Any:
    """The body of ``GET /health``, or None while nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serai() -> str:
    """The command of the environment that runs us."""
    return str(Path(sys.executable).with_name("serai"))


if __name__ == "__main__":
    sys.exit(main())
