"""What hostile root leaves for the next start, which reads some of its files and writes others."""

import os
from collections.abc import Callable

import pytest

from platform_server import KEY, Server

from .attacker import Attacker, until

DRIVER = os.environ.get("SERAI_TEST_DRIVER", "")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PLACES = [
    *(f"/proc/self/{name}" for name in ("maps", "status", "mountinfo", "cmdline", "environ")),
    *(f"/proc/self/fd/{number}" for number in (1, 2)),
    "/proc/1/task/1/maps",
]
SHOW = f"test -f {BUNDLE} -a ! -L {BUNDLE} && grep -v '^[A-Za-z0-9+/=]*$' {BUNDLE}"


@pytest.mark.skipif(DRIVER in ("docker", "podman"), reason="engines have their own files")
def test_nothing_of_the_start_is_copied_inside(new_server: Callable[..., Server]) -> None:
    """The certificates are read and written anew by a process that is not confined yet."""
    server = new_server().start()
    server.log.chmod(0o644)
    with server.client_for(KEY) as api:
        made = [Attacker(api, f"evil-{number}") for number in range(len(PLACES))]
        for evil, place in zip(made, PLACES, strict=True):
            done = evil.run(f"ln -sf {place} {BUNDLE}.new && mv {BUNDLE}.new {BUNDLE}")
            assert done["exitCode"] == 0, done["logs"]
        server.stop()
        server.start()
        for evil, place in zip(made, PLACES, strict=True):
            until(evil.is_well)
            lines = set(evil.run(SHOW)["stdout"].split("\n"))
            assert "-----BEGIN CERTIFICATE-----" in lines, place
            assert all("CERTIFICATE" in line or line[:1] in ("#", "") for line in lines), place
