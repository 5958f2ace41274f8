"""A sandbox whose programs mean harm, driven through the public API."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

PROGRAMS = Path(__file__).with_name("programs")


class Attacker:
    """One sandbox of the workspace ``main``."""

    def __init__(self, api: httpx.Client, name: str, **runtime: object) -> None:
        self.api = api
        self.name = name
        self.base = f"/main/sandboxes/{name}"
        spec = {"runtime": {"memory": 1024} | runtime}
        answer = api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec})
        assert answer.status_code == 200, answer.text

    def run(self, command: str, seconds: int = 60) -> dict[str, Any]:
        """Run a shell command to its end."""
        body = {"command": command, "waitForCompletion": True, "timeout": seconds}
        answer = self.api.post(f"{self.base}/process", json=body, timeout=seconds + 60)
        assert answer.status_code == 200, answer.text
        done: dict[str, Any] = answer.json()
        return done

    def start(self, command: str, **more: object) -> str:
        """Start a shell command; its name."""
        answer = self.api.post(f"{self.base}/process", json={"command": command} | more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["name"])

    def upload(self, program: str) -> str:
        """Put a program of ours inside; the command that runs it."""
        source = (PROGRAMS / program).read_text()
        put = self.api.put(f"{self.base}/filesystem//tmp/{program}", json={"content": source})
        assert put.status_code == 200, put.text
        return f"python3 /tmp/{program}"

    def attack(self, program: str, *arguments: str, seconds: int = 60) -> Any:
        """Run a program of ours inside; the JSON in its last line."""
        command = " ".join([self.upload(program), *arguments])
        done = self.run(command, seconds)
        assert done["exitCode"] == 0, done["logs"][-3000:]
        return json.loads(done["stdout"].splitlines()[-1])

    def is_well(self) -> bool:
        """Whether its own API still works: process 1 lives and can start programs."""
        return bool(self.run("echo still here")["stdout"] == "still here\n")

    def delete(self) -> None:
        """End it."""
        self.api.delete(f"/v0/sandboxes/{self.name}")


def until(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something that must become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)
