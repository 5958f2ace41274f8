"""A WireGuard peer that is not ours: wireguard-go, in a network namespace of its own.

It is reached at ``port`` on loopback, through a relay that also shows what went over the wire. It
answers HTTP, and datagrams to port 53, at ``ADDRESS`` inside the tunnel, and can ask for what the
other end serves.
"""

import array
import base64
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from serai.runtime.host import is_host_root

SOURCE = "golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446"
ADDRESS, NETWORK = "10.87.0.1", "10.87.0.0/24"
ADDRESS_6, NETWORK_6, OTHER_6 = "fd00:87::1", "fd00:87::/64", "fd00:87::2"
PORT = 51820
PAGE = "from the peer"
_CACHE = Path(__file__).parents[2] / ".cache" / "wireguard-go"
_BUILD_SECONDS = 300

_INSIDE = """
import array, json, socket, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from serai.runtime import linux, netlink
program, channel, address, address_6, prefix, port, settings = sys.argv[1:]
linux.raise_loopback()
subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
peer = subprocess.Popen([program, "-f", "wg0"], stdin=subprocess.DEVNULL)
control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
for _ in range(1000):
    try:
        control.connect("/run/wireguard/wg0.sock")
        break
    except OSError:
        time.sleep(0.01)
control.sendall(settings.encode())
answer = control.recv(1000)
assert answer.startswith(b"errno=0\\n"), answer
netlink.add_link_address("wg0", address, int(prefix))
netlink.raise_link("wg0")
netlink.add_link_address("wg0", address_6, 64)
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.bind(("127.0.0.1", 0))
wire.connect(("127.0.0.1", int(port)))

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = (sys.argv[0] + PAGE + self.client_address[0].removeprefix("::ffff:")).encode()
        if self.path == "/big":
            body = b"x" * (4 << 20)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass

class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

server = Server(("::", 80), Page)
echoing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echoing.bind((address, 53))

def echo():
    while True:
        data, source = echoing.recvfrom(1000)
        echoing.sendto(b"echo of " + data, source)

threading.Thread(target=echo, daemon=True).start()
out = socket.socket(fileno=int(channel))
rights = array.array("i", [wire.fileno()]).tobytes()
out.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
server.serve_forever()
""".replace("(sys.argv[0] + PAGE + ", f"({PAGE!r} + ' to ' + ")


def program() -> Path:
    """wireguard-go: of the system, or built once with Go; skips the test where neither works."""
    if not is_host_root() or not Path("/dev/net/tun").exists():
        pytest.skip("needs root and /dev/net/tun")
    if found := shutil.which("wireguard-go"):
        return Path(found)
    built = _CACHE / "wireguard"
    if not built.exists():
        if shutil.which("go") is None:
            pytest.skip("needs wireguard-go, or Go to build it")
        _CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["go", "install", SOURCE],
            env=os.environ | {"GOBIN": str(_CACHE)},
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"wireguard-go cannot be built: {done.stderr[-300:]}")
    return built


def text(key: bytes) -> str:
    """A key as configurations have it."""
    return base64.b64encode(key).decode()


class WireguardPeer:
    """One peer, and the keys of both ends.

    Attributes:
        seen: datagrams in the order in which they passed.
        deaf: while true nothing passes.
    """

    def __init__(self, other: str = "10.87.0.2") -> None:
        self.other = other
        self.private, self.public = _pair()
        self.other_private, self.other_public = _pair()
        self.seen: list[bytes] = []
        self.deaf = False
        self._outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._outside.bind(("127.0.0.1", 0))
        self.port = int(self._outside.getsockname()[1])
        self._process, self._inside = self._start()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _start(self) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        settings = (
            f"set=1\nprivate_key={self.private.hex()}\nlisten_port={PORT}\n"
            f"public_key={self.other_public.hex()}\nallowed_ip={self.other}/32\n"
            f"allowed_ip={OTHER_6}/128\n\n"
        )
        ours, theirs = socket.socketpair()
        prefix = NETWORK.partition("/")[2]
        words = (
            str(program()),
            str(theirs.fileno()),
            ADDRESS,
            ADDRESS_6,
            prefix,
            str(PORT),
            settings,
        )
        process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--kill-child", sys.executable, "-c", _INSIDE, *words],
            pass_fds=(theirs.fileno(),),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(30)
        with ours:
            size = array.array("i").itemsize
            _, details, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(size))
        assert details, "the peer did not start"
        wire = array.array("i")
        wire.frombytes(details[0][2][:size])
        return process, socket.socket(fileno=wire[0])

    def config(self, **changes: Any) -> dict[str, Any]:
        """What the sandbox's end is told."""
        return {
            "local_ip": f"{self.other}/24",
            "peer_endpoint": f"peer.test:{self.port}",
            "peer_public_key": text(self.public),
            "private_key": text(self.other_private),
            "allowed_ips": [NETWORK],
            **changes,
        }

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command where the peer is."""
        command = ["nsenter", "--net", "-t", str(self.pid), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    @property
    def pid(self) -> int:
        """A process in its network namespace."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return int(children.split()[0]) if children.split() else self._process.pid

    def get(self, url: str) -> str:
        """What something in the tunnel answers to the peer; empty if nothing does."""
        return self.run("curl", "-sS", "--noproxy", "*", "--max-time", "20", url).stdout

    def _relay(self) -> None:
        client: Any = None
        ends = [self._outside, self._inside]
        while not self._ending.is_set():
            for end in select.select(ends, [], [], 0.1)[0]:
                try:
                    data, source = end.recvfrom(65535)
                    client = source if end is self._outside else client
                    if self.deaf:
                        continue
                    self.seen.append(data)
                    if end is self._outside:
                        self._inside.send(data)
                    elif client is not None:
                        self._outside.sendto(data, client)
                except OSError:
                    time.sleep(0.01)

    def close(self) -> None:
        """End it."""
        self._ending.set()
        self._thread.join()
        os.killpg(self._process.pid, 9)
        self._process.wait()
        self._outside.close()
        self._inside.close()


def _pair() -> tuple[bytes, bytes]:
    key = X25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()
