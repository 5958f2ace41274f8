"""What the platform is told before it suspends a sandbox."""

import threading
import time

from .client import Sandbox


def told(sandbox: Sandbox) -> bytes:
    return sandbox.call("GET", "/standby").body


def test_nothing_forbids_it_at_first(sandbox: Sandbox) -> None:
    sandbox.start("sleep 1000", name="plain")
    assert told(sandbox) == b"0\n"
    sandbox.call("DELETE", "/process/plain/kill")


def test_the_number_comes_at_once_and_the_end_with_the_last_one(sandbox: Sandbox) -> None:
    for number in range(2):
        sandbox.start("sleep 1000", name=f"kept-{number}", keepAlive=True, timeout=0)
    response = sandbox.open("GET", "/standby")
    assert response.readline() == b"2\n"
    over = threading.Event()

    def wait() -> None:
        response.read()
        over.set()

    threading.Thread(target=wait).start()
    sandbox.call("DELETE", "/process/kept-1/kill")
    sandbox.start("sleep 1000", name="kept-2", keepAlive=True, timeout=0)
    sandbox.call("DELETE", "/process/kept-0/kill")
    time.sleep(0.3)
    assert not over.is_set()
    assert sandbox.call("GET", "/health").json["keepAliveProcesses"] == 1
    sandbox.call("DELETE", "/process/kept-2/kill")
    assert over.wait(20)
    assert told(sandbox) == b"0\n"


def test_a_timeout_ends_it_too(sandbox: Sandbox) -> None:
    begin = time.monotonic()
    sandbox.start("sleep 1000", name="timed", keepAlive=True, timeout=1)
    assert told(sandbox) == b"1\n"
    assert time.monotonic() - begin >= 1
    assert sandbox.call("GET", "/process/timed").json["status"] == "killed"
