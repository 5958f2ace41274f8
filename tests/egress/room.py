"""A network namespace attached to an egress process, in which commands of the host run.

What a sandbox's network is, without the rest of a sandbox: quick, and with every program of the
host at hand.
"""

import subprocess
import sys
from pathlib import Path

import msgspec

from serai.runtime.links import TunnelLink

_HOLD = """
import sys
from serai.runtime import linux
linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNET)
linux.raise_loopback()
print(flush=True)
sys.stdin.read()
"""
_ATTACH = """
import sys
from serai.runtime import network
rules = network.make_rules()
if sys.argv.pop():
    rules.chain("refused by every kernel", 99, 0, [])
print(network.attach(rules, int(sys.argv[1]), *sys.argv[2:], enter_user=True), end="")
"""
_TUNNEL = """
import sys
from types import SimpleNamespace
from serai.runtime import network, processes, tunnels
from serai.runtime.messages import Errand
pid, name, egress, link, anew = int(sys.argv[1]), *sys.argv[2:]
place = SimpleNamespace(network=network.make_rules(), root_outside=False)
details = {"id": name, "egress": egress, "link": link, "anew": anew}
started = processes.start_time(pid)
errand = Errand(request=0, kind="tunnel", pid=pid, started=started, details=details)
print(tunnels.tunnel(place, errand), end="")
"""


class Room:
    """One namespace, known to the egress process as ``name``."""

    def __init__(self, name: str, socket: Path, authority: Path) -> None:
        self.name = name
        self._socket = socket
        self._authority = authority
        self._holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline()

    @property
    def pid(self) -> int:
        """The process that the namespace lives with."""
        return self._holder.pid

    def attach(self, *, without_rules: bool = False) -> str:
        """Connect it with the egress process that runs now, as on a kernel without our rules."""
        command = [sys.executable, "-c", _ATTACH, str(self.pid), self.name, str(self._socket)]
        command.append("yes" if without_rules else "")
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def tunnel(self, link: TunnelLink | None, *, anew: bool = True) -> str:
        """Bring the interface of a tunnel, or take it away; what the errand says, or why not."""
        wanted = msgspec.json.encode(link).decode()
        command = [sys.executable, "-c", _TUNNEL, str(self.pid), self.name, str(self._socket)]
        done = subprocess.run(
            [*command, wanted, "yes" if anew else ""],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout or done.stderr

    def command(self, *words: str) -> list[str]:
        """The command line that runs ``words`` inside."""
        return ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(self.pid), *words]

    def run(
        self, *words: str, seconds: float = 30, **more: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside; ``more`` are environment variables."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "CURL_CA_BUNDLE": str(self._authority),
            "SSL_CERT_FILE": str(self._authority),
        }
        return subprocess.run(
            self.command(*words),
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def curl(self, *words: str) -> str:
        """Headers and body of the answer; empty where the connection failed."""
        done = self.run("curl", "-sS", "-i", "--max-time", "20", *words)
        sys.stderr.write(done.stderr)  # shown where a test fails
        return done.stdout

    def python(self, code: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run Python code inside, with what the tests can import."""
        return self.run(sys.executable, "-c", code, *words)

    def close(self) -> None:
        """End everything in it."""
        self._holder.kill()
        self._holder.wait()
