"""The host and other sandboxes, as a hostile program would look for them."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_server import Server

from .attacker import Attacker

MARK = f"mark-{os.urandom(8).hex()}"


@pytest.fixture
def host_process() -> Iterator[int]:
    """A process of the host that shows the mark wherever a process can show something."""
    code = f"import time; name = {MARK!r}; print(flush=True); time.sleep(60)"
    started = subprocess.Popen(
        [sys.executable, "-c", code], env={"MARK": MARK}, stdout=subprocess.PIPE
    )
    assert started.stdout is not None
    started.stdout.readline()
    yield started.pid
    started.kill()
    started.wait()
    started.stdout.close()


def test_processes_of_the_host_are_not_there(evil: Attacker, host_process: int) -> None:
    look = f"grep -rals {MARK} /proc/[0-9]*/cmdline /proc/[0-9]*/environ /proc/[0-9]*/maps"
    found = evil.run(f"{look} | grep -v self")["stdout"].split()
    own = evil.run("echo $$")["stdout"].strip()
    assert all(int(path.split("/")[2]) > int(own) - 5 for path in found), found  # the grep itself
    assert evil.run(f"kill -0 {host_process}")["exitCode"] != 0
    assert evil.run(f"ls /proc/{host_process}")["exitCode"] != 0


def test_files_of_the_host_are_not_there(evil: Attacker, server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(MARK)
    places = [secret, server.data_dir, server.log, "/root/.ssh", "/etc/shadow-", "/var/lib/dpkg"]
    for place in places:
        assert evil.run(f"ls {place}")["exitCode"] != 0
    names = "master.key admin-key serai.db state.json private.json launcher.log"
    wanted = " -o ".join(f"-name {name}" for name in names.split())
    assert evil.run(f"find / -xdev \\( {wanted} \\) 2>/dev/null")["stdout"] == ""
    told = "cat /proc/mounts /proc/self/mountinfo /proc/self/maps /proc/self/environ /proc/cmdline"
    text = evil.run(f"{told} /proc/1/mountinfo /proc/1/status /proc/1/cmdline; env")["logs"]
    for private in (str(server.data_dir), str(Path.home() / ".blaxel"), str(Path.cwd())):
        assert private not in text
    assert "BOOT_IMAGE" not in text
    assert "console=" not in text


def test_the_host_cannot_be_called(evil: Attacker, server: Server) -> None:
    name = f"serai-test-{MARK}"
    with socket.socket(socket.AF_UNIX) as hidden, socket.create_server(("0.0.0.0", 0)) as open_:
        hidden.bind("\0" + name)
        hidden.listen()
        threading.Thread(target=_greet, args=(open_,), daemon=True).start()
        ports = (server.port, open_.getsockname()[1])
        hosts = ["127.0.0.1", "169.254.169.254", "[fd00:ec2::254]", *addresses_of_this_host()]
        places = [f"{host}:{port}" for host in hosts for port in (*ports, 22, 80)]
        assert evil.attack("reach.py", f"@{name}", *places) == []


def _greet(listener: socket.socket) -> None:
    """Say something to everyone who comes, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.sendall(b"a port of the host")
            client.close()


def test_no_datagram_reaches_the_host(evil: Attacker) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as listener:
        listener.bind(("0.0.0.0", 0))
        listener.settimeout(0.5)
        port = listener.getsockname()[1]
        hosts = [host for host in addresses_of_this_host() if ":" not in host]
        places = [f"{host}:{port}" for host in ("127.0.0.1", *hosts)]
        evil.attack("datagrams.py", *places)
        with pytest.raises(TimeoutError):
            listener.recv(16)


def addresses_of_this_host() -> list[str]:
    """Every address that other machines could use for this one."""
    done = subprocess.run(
        ["hostname", "--all-ip-addresses"], capture_output=True, text=True, check=False
    )
    return [f"[{each}]" if ":" in each else each for each in done.stdout.split()]


def test_sandboxes_cannot_call_each_other(attacker: Callable[..., Attacker]) -> None:
    one, other = attacker(), attacker()
    serve = "python3 -m http.server 8765 --bind 0.0.0.0"
    body = {"command": serve, "waitForPorts": [8765]}
    assert one.api.post(f"{one.base}/process", json=body).status_code == 200
    own = one.run("hostname --all-ip-addresses")["stdout"].split()
    places = [f"{host}:8765" for host in ("127.0.0.1", one.name, *own)]
    assert other.attack("reach.py", *places) == []
    assert one.attack("reach.py", places[0]) == [places[0]]


def test_what_one_sandbox_makes_another_never_sees(attacker: Callable[..., Attacker]) -> None:
    one, other = attacker(), attacker()
    folders = "/tmp /dev/shm /usr /usr/lib /etc /opt /var /blaxel /root"
    one.run(f"for d in {folders}; do echo {MARK} > $d/{MARK}; done; ln -sfn {MARK} /tmp/link")
    one.run("python3 -c 'import os; os.mkfifo(\"/tmp/fifo\")'; ipcmk -M 4096 -Q -S 1")
    assert MARK in one.run(f"cat /usr/lib/{MARK} /dev/shm/{MARK}")["stdout"]
    seen = f"ls {folders} 2>/dev/null | grep -c {MARK}; ipcs | grep -c root"
    assert other.run(seen)["stdout"].split() == ["0", "0"]
    assert not Path(f"/usr/lib/{MARK}").exists()
