"""Input that is written to a running command."""

import threading
import time

import pytest

from .client import Answer, Sandbox, eventually, running


def write(sandbox: Sandbox, name: str, data: str | bytes) -> Answer:
    kind = {"Content-Type": "application/octet-stream"}
    return sandbox.call("POST", f"/process/{name}/stdin", data, kind)


def test_a_conversation(sandbox: Sandbox) -> None:
    sandbox.start('while read line; do echo "got $line"; done; echo end', name="talk", stdin=True)
    assert write(sandbox, "talk", "one\ntw").json == {
        "message": "Data written to stdin",
        "path": "",
    }
    assert write(sandbox, "talk", "o\nthé\n".encode()).status == 200
    eventually(lambda: "got thé" in sandbox.call("GET", "/process/talk").json["stdout"])
    for _ in range(2):
        assert sandbox.call("DELETE", "/process/talk/stdin").json["message"] == "Stdin closed"
    assert sandbox.wait("talk")["stdout"] == "got one\ngot two\ngot thé\nend\n"
    assert write(sandbox, "talk", "more").status == 409


def test_bytes_are_not_changed(sandbox: Sandbox) -> None:
    sandbox.start("wc -c; true", name="count", stdin=True)
    data = bytes(range(256)) * 8000
    assert write(sandbox, "count", data).status == 200
    sandbox.call("DELETE", "/process/count/stdin")
    assert sandbox.wait("count")["stdout"].strip() == str(len(data))


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_without_an_input(sandbox: Sandbox, method: str) -> None:
    sandbox.start("cat; sleep 1", name=f"plain-{method}")
    answer = sandbox.call(
        method, f"/process/plain-{method}/stdin", "x" if method == "POST" else None
    )
    assert (answer.status, "stdin" in answer.json["error"]) == (409, True)
    assert sandbox.call(method, "/process/nobody/stdin").status == 404


def test_too_much_at_once(sandbox: Sandbox) -> None:
    sandbox.start("sleep 1", name="big", stdin=True)
    assert write(sandbox, "big", b"x" * 5_000_000).status == 413


def test_a_reader_that_is_gone(sandbox: Sandbox) -> None:
    sandbox.start("exec <&-; sleep 5", name="deaf", stdin=True)
    time.sleep(0.2)
    answer = write(sandbox, "deaf", "x" * 100)
    assert answer.status == 409
    assert "0 of 100" in answer.json["error"]
    sandbox.call("DELETE", "/process/deaf/kill")


def test_a_command_that_does_not_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("slow"), "--stdin-wait", "0.3") as sandbox:
        sandbox.start("sleep 2; cat | wc -c", name="slow", stdin=True)
        before = sandbox.memory_kb()
        answer = write(sandbox, "slow", b"x" * 1_000_000)
        assert answer.status == 503
        assert "65536 bytes were taken of 1000000" in answer.json["error"]
        assert sandbox.memory_kb() - before < 8_000
        sandbox.call("DELETE", "/process/slow/stdin")
        assert sandbox.wait("slow")["stdout"].strip() == "65536"


def test_the_end_of_a_command_ends_its_writers(sandbox: Sandbox) -> None:
    sandbox.start("sleep 0.5", name="short", stdin=True)
    started = time.monotonic()
    answer = write(sandbox, "short", b"x" * 1_000_000)
    assert (answer.status, "65536 of 1000000" in answer.json["error"]) == (409, True)
    assert time.monotonic() - started < 10


def test_writers_do_not_mix(sandbox: Sandbox) -> None:
    sandbox.start("sleep 0.3; cat", name="mixed", stdin=True)
    texts = [letter * 200_000 for letter in "abcd"]
    threads = [threading.Thread(target=write, args=(sandbox, "mixed", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sandbox.call("DELETE", "/process/mixed/stdin")
    sandbox.wait("mixed")
    printed = sandbox.call("GET", "/process/mixed/logs").json["stdout"]
    assert len(printed) == 800_000
    assert all(text in printed for text in texts)


def test_a_restart_reads_anew(sandbox: Sandbox) -> None:
    options = {"restartOnFailure": True, "maxRestarts": 1, "stdin": True}
    sandbox.start('read line; echo "$line"; exit 1', name="again", **options)
    write(sandbox, "again", "first\n")
    eventually(lambda: sandbox.call("GET", "/process/again").json["restartCount"] == 1)
    eventually(lambda: write(sandbox, "again", "second\n").status == 200)
    done = sandbox.wait("again")["stdout"]
    assert "first\n" in done
    assert "second\n" in done
