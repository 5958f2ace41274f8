"""From nothing to the first command's output, through the official Python SDK."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench.platform import KEY, Skipped, running
from bench.report import Row

CLIENT = Path(".cache/clients/py-0.4.24/bin/python")
PROGRAM = """
import asyncio, json, subprocess, sys, time
from blaxel.core import SandboxInstance

async def main(rounds):
    create, total = [], []
    for number in range(rounds + 3):
        begin = time.perf_counter()
        sandbox = await SandboxInstance.create({"name": f"bench-{number}"})
        created = time.perf_counter()
        done = await sandbox.process.exec({"command": "echo hello", "wait_for_completion": True})
        assert done.logs.strip() == "hello", done
        if number >= 3:
            create.append(created - begin)
            total.append(time.perf_counter() - begin)
        await SandboxInstance.delete(f"bench-{number}")
    local = []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run(["/bin/sh", "-c", "echo hello"], capture_output=True, check=True)
        local.append(time.perf_counter() - begin)
    print(json.dumps({"create": create, "total": total, "local": local}))

asyncio.run(main(int(sys.argv[1])))
"""


def run(rounds: int) -> list[Row]:
    """Create a sandbox and wait for ``echo hello``; the baseline is a bare local subprocess.

    Raises:
        Skipped: the client's environment is missing.
    """
    if not CLIENT.exists():
        raise Skipped("the SDK is not installed; run `make clients`")
    serai = str(Path(sys.executable).with_name("serai"))
    with running() as platform:
        done = subprocess.run(
            [serai, "exec", *platform.options, "--", str(CLIENT), "-c", PROGRAM, str(rounds * 10)],
            env={"SERAI_ADMIN_API_KEY": KEY, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    times = json.loads(done.stdout.splitlines()[-1])
    create, total, local = (
        statistics.median(times[name]) * 1000 for name in ("create", "total", "local")
    )
    return [
        Row("create a sandbox, p50", create, "ms"),
        Row(
            "create and first output, p50",
            total,
            "ms",
            ("a local subprocess", local),
            "150 ms",
            total <= 150,
        ),
    ]
