"""The process: start, drain, crash, second instances."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from platform_server import COMMAND, KEY, Server, environment

NewServer = Callable[..., Server]


def model(name: str) -> dict[str, Any]:
    """A document that is cheap to store."""
    return {"metadata": {"name": name}, "spec": {}}


def test_first_start_shows_a_key_that_works(new_server: NewServer) -> None:
    server = new_server()
    del server.environ["SERAI_ADMIN_API_KEY"]
    server.start()
    key = next(word for word in server.log.read_text().split() if word.startswith("bl_"))
    with server.client_for(key) as client:
        assert client.get("/v0/sandboxes").status_code == 200
    assert (server.data_dir.stat().st_mode & 0o777) == 0o700
    for name in ("serai.db", "master.key", "admin-key", "ca/ca.key"):
        assert (server.data_dir / name).stat().st_mode & 0o077 == 0, name
    told = server.run("env", "--json").stdout
    assert json.loads(told)["BL_API_KEY"] == key
    server.stop()
    server.log.write_text("")
    server.start()
    assert key not in server.log.read_text()
    with server.client_for(key) as client:
        assert client.get("/v0/sandboxes").status_code == 200


def test_a_second_server_on_the_same_data_directory_is_refused(server: Server) -> None:
    second = Server(server.data_dir)
    refused = second.run("up")
    assert refused.returncode == 1
    assert str(server.data_dir) in refused.stderr
    assert server.url in refused.stderr
    assert server.client.get("/health").status_code == 200


def test_two_servers_do_not_disturb_each_other(new_server: NewServer) -> None:
    one, two = new_server("one").start(), new_server("two").start()
    one.client.post("/v0/models", json=model("only-one"))
    assert two.client.get("/v0/models/only-one").status_code == 404
    assert one.stop() == 0
    assert two.client.get("/health").status_code == 200


def test_a_taken_port_is_named(server: Server, new_server: NewServer) -> None:
    other = new_server()
    other.port = server.port
    refused = other.run("up")
    assert refused.returncode == 1
    assert f"port {server.port}" in refused.stderr


def test_status_and_exec(server: Server) -> None:
    status = server.run("status", "--json")
    assert (status.returncode, f'"{server.url}"' in status.stdout) == (0, True)
    ran = server.run("exec", "--", "sh", "-c", "echo $BL_WORKSPACE $BL_API_KEY; exit 7")
    assert (ran.returncode, ran.stdout) == (7, f"main {KEY}\n")


def test_sigterm_lets_requests_finish(new_server: NewServer) -> None:
    server = new_server().start()
    server.client.post("/v0/sandboxes", json=model("drain"))
    answers: list[httpx.Response] = []

    def slow() -> None:
        body = {"command": "sleep 2; echo finished", "name": "slow", "waitForCompletion": True}
        with server.client_for(KEY) as client:
            answers.append(client.post("/main/sandboxes/drain/process", json=body))

    request = threading.Thread(target=slow)
    request.start()
    while server.client.get("/main/sandboxes/drain/process/slow").status_code != 200:
        time.sleep(0.02)
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 10
    request.join()
    assert answers[0].json()["stdout"] == "finished\n"


def test_a_streaming_client_cannot_hold_up_the_stop(new_server: NewServer) -> None:
    server = new_server().start()
    server.client.post("/v0/sandboxes", json=model("stream"))
    url = "/main/sandboxes/stream/process"
    server.client.post(url, json={"command": "sleep 1000", "name": "long"})
    with server.client.stream("GET", f"{url}/long/logs/stream") as stream:
        next(stream.iter_raw())
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 10


def test_nothing_answered_is_lost_by_kill_9(new_server: NewServer) -> None:
    server = new_server().start()
    answered: list[str] = []
    stop = threading.Event()

    def write(worker: int) -> None:
        with server.client_for(KEY) as client:
            for number in range(10_000):
                name = f"m-{worker}-{number}"
                try:
                    made = client.post("/v0/models", json=model(name))
                except httpx.TransportError:
                    return
                if made.status_code == 200:
                    answered.append(name)
                if stop.is_set():
                    return

    workers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    while len(answered) < 200:
        time.sleep(0.01)
    server.kill()
    stop.set()
    for worker in workers:
        worker.join()
    server.start()
    missing = [n for n in answered if server.client.get(f"/v0/models/{n}").status_code != 200]
    assert not missing


@pytest.mark.sandbox
def test_sandboxes_survive_kill_9(new_server: NewServer) -> None:
    server = new_server().start()
    server.client.post("/v0/sandboxes", json=model("box"))
    url = "/main/sandboxes/box"
    server.client.post(f"{url}/process", json={"command": "sleep 1000", "name": "long"})
    server.client.put(f"{url}/filesystem/tmp/note", json={"content": "kept"})
    before = server.client.get("/v0/sandboxes/box").json()
    server.kill()
    server.start()
    after = server.client.get("/v0/sandboxes/box").json()
    assert after.pop("lastUsedAt") <= before.pop("lastUsedAt")  # written every few seconds
    assert after == before
    assert server.client.get(f"{url}/process/long").json()["status"] == "running"
    assert server.logged(event="sandbox_adopted")["sandbox"] == "box"
    assert server.client.delete("/v0/sandboxes/box").json()["status"] == "TERMINATED"


@pytest.mark.sandbox
def test_a_clean_stop_puts_sandboxes_to_rest_and_a_request_wakes_them(
    new_server: NewServer,
) -> None:
    server = new_server().start()
    server.client.post("/v0/sandboxes", json=model("box"))
    body = {"command": "echo kept > /root/note", "waitForCompletion": True}
    server.client.post("/main/sandboxes/box/process", json=body)
    server.stop()
    server.start()
    assert server.client.get("/v0/sandboxes/box").json()["state"] == "STANDBY"
    read = server.client.get("/main/sandboxes/box/filesystem//root/note")
    assert read.json()["content"] == "kept\n"
    assert server.client.get("/v0/sandboxes/box").json()["state"] == "RUNNING"


@pytest.mark.sandbox
def test_a_crash_in_the_middle_of_creates_changes_and_deletes_is_repaired(
    new_server: NewServer,
) -> None:
    server = new_server().start()
    url = f"{server.url}/v0/sandboxes"
    headers = {"Authorization": f"Bearer {KEY}"}

    def churn(worker: int) -> None:
        with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
            try:
                for number in range(1000):
                    made = client.post(url, json=model(f"churn-{worker}-{number}")).json()
                    made["spec"]["runtime"]["envs"] = [{"name": "N", "value": str(number)}]
                    client.put(f"{url}/churn-{worker}-{number}", json=made)
                    client.delete(f"{url}/churn-{worker}-{number}")
            except httpx.TransportError:
                return

    workers = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    time.sleep(1.5)
    server.kill()
    for worker in workers:
        worker.join()
    server.start()

    def settled() -> bool:
        page = server.client.get("/v0/sandboxes?limit=200").json()["data"]
        return all(item["status"] == "DEPLOYED" for item in page)

    deadline = time.monotonic() + 30
    while not settled():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for item in server.client.get("/v0/sandboxes?limit=200").json()["data"]:
        name = item["metadata"]["name"]
        wanted = [env["value"] for env in item["spec"]["runtime"].get("envs", [])]
        body = {"command": "echo $N", "waitForCompletion": True}
        seen = server.client.post(f"/main/sandboxes/{name}/process", json=body).json()
        assert seen["stdout"].split() == wanted
        assert server.client.delete(f"/v0/sandboxes/{name}").status_code == 200


def test_ctrl_c_stops_cleanly(new_server: NewServer) -> None:
    server = new_server().start()
    assert server.process is not None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 0
    server.process = None


def test_help_needs_no_server() -> None:
    for arguments in (["--help"], ["up", "--help"], ["env", "--help"], ["exec", "--help"]):
        shown = subprocess.run(
            [*COMMAND, *arguments], env=environment(), capture_output=True, text=True, check=True
        )
        assert "Usage:" in shown.stdout


def test_a_full_or_read_only_data_directory_is_a_clear_error(
    new_server: NewServer, tmp_path: Any
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)
    try:
        server = Server(small / "data")
        server.log = tmp_path / "small.log"
        server.start()
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        statuses = set()
        for number in range(200):
            labels = {"k": "v" * 1000}
            body = {"metadata": {"name": f"m-{number}", "labels": labels}, "spec": {}}
            answer = server.client.post("/v0/models", json=body)
            statuses.add(answer.status_code)
            if answer.status_code != 200:
                assert (answer.status_code, answer.json()["code"]) == (503, 503)
                assert "disk space" in answer.json()["message"]
        assert 503 in statuses
        filler.unlink()
        assert server.client.post("/v0/models", json=model("after")).status_code == 200
        server.stop()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
