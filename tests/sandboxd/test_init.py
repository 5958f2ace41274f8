"""The API as PID 1 of a process namespace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .client import Sandbox, eventually

pytestmark = pytest.mark.sandbox


@pytest.fixture
def init(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "work").mkdir()
    unshare = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]
    arguments = ["--api-socket", str(tmp_path / "api"), "--port-socket", str(tmp_path / "port")]
    arguments += ["--workdir", str(tmp_path / "work")]
    outer = subprocess.Popen(
        [*unshare, sys.executable, "-m", "serai.sandboxd", *arguments],
    )
    sandbox = Sandbox(tmp_path / "api", tmp_path / "port", outer.pid, tmp_path / "work")
    try:
        eventually(lambda: outer.poll() is not None or sandbox.port.exists())
        if outer.poll() is not None:
            pytest.skip("this machine allows no process namespaces")
        yield sandbox
    finally:
        outer.kill()
        outer.wait()


def test_daemons_are_adopted_and_reaped(init: Sandbox) -> None:
    daemon = "import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    daemon += "open('d.pid','w').write(str(os.getpid()))\ntime.sleep(2)"
    (init.workdir / "daemon.py").write_text(daemon)
    assert init.run("python3 daemon.py")["exitCode"] == 0
    note = init.workdir / "d.pid"
    pid = eventually(lambda: note.exists() and note.read_text())
    states = "for s in /proc/[0-9]*/stat; do cut -d' ' -f1,3,4 $s; done 2>/dev/null"
    eventually(lambda: f"{pid} S 1" in init.run(states)["stdout"])
    eventually(lambda: f"\n{pid} " not in init.run(states)["stdout"])
    assert " Z " not in init.run(states)["stdout"]


def test_root_without_capabilities_cannot_read_the_memory_of_pid_1(init: Sandbox) -> None:
    look = "setpriv --inh-caps=-all --bounding-set=-all cat /proc/1/environ"
    assert init.run(look)["exitCode"] != 0


def test_waits_for_a_daemons_port(init: Sandbox) -> None:
    command = "python3 -c 'import time;time.sleep(.3)'; (setsid python3 -m http.server 18771 &) "
    answer = init.call(
        "POST", "/process", json.dumps({"command": command, "waitForPorts": [18771]})
    )
    assert answer.status == 200, answer.body
