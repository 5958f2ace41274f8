"""Standby: what keeps a sandbox awake, what wakes it, and what a crash in between leaves."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import aiohttp
import httpx
import msgspec
import pytest
from sqlalchemy import select

from platform_server import KEY, Server, today
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.port import SandboxHandle
from serai.store.database import Database
from serai.store.tables.sandboxes import sandboxes

from .conftest import create

pytestmark = pytest.mark.sandbox
SECONDS = 0.4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose sandboxes fall asleep quickly."""
    data_dir = tmp_path_factory.mktemp("standby") / "data"
    shared = Server(data_dir, SERAI_STANDBY_SECONDS=str(SECONDS)).start()
    yield shared
    shared.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with server.client_for(KEY) as client:
        yield client


def state(api: httpx.Client, box: str) -> str | None:
    found: str | None = api.get(f"/v0/sandboxes/{box}").json().get("state")
    return found


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)
    return found


def asleep(api: httpx.Client, *boxes: str) -> None:
    """Wait until all are in standby."""
    for box in boxes:
        until(lambda box=box: state(api, box) == "STANDBY")


def stays_awake(api: httpx.Client, box: str) -> None:
    """Look, for longer than it takes to fall asleep."""
    end = time.monotonic() + 3 * SECONDS
    while time.monotonic() < end:
        assert state(api, box) == "RUNNING"
        time.sleep(0.05)


def start(api: httpx.Client, box: str, command: str, **more: Any) -> dict[str, Any]:
    response = api.post(f"/main/sandboxes/{box}/process", json={"command": command} | more)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def run(api: httpx.Client, box: str, command: str) -> str:
    out: str = start(api, box, command, waitForCompletion=True)["stdout"]
    return out


@contextmanager
def another(new_server: Callable[..., Server], **environ: str) -> Iterator[Server]:
    """A server of this test's own, which it stops and starts."""
    yield new_server(SERAI_STANDBY_SECONDS=str(SECONDS), **environ).start()


# -- what keeps awake


def test_what_nobody_uses_stands_and_goes_on_with_the_next_request(
    api: httpx.Client, box: str, server: Server
) -> None:
    start(api, box, "for i in $(seq 100000); do echo $i > /tmp/n; sleep 0.01; done", name="counter")
    asleep(api, box)
    shown = api.get(f"/v0/sandboxes/{box}").json()
    assert (shown["status"], shown["state"]) == ("DEPLOYED", "STANDBY")
    (listed,) = api.get("/v0/sandboxes", params={"q": box}).json()["data"]
    assert listed["state"] == "STANDBY"
    time.sleep(0.3)
    first = int(run(api, box, "cat /tmp/n"))
    assert state(api, box) == "RUNNING"
    process = api.get(f"/main/sandboxes/{box}/process/counter").json()
    assert process["status"] == "running"
    assert int(run(api, box, "sleep 0.2; cat /tmp/n")) > first
    used = api.get(f"/v0/sandboxes/{box}").json()
    assert used["lastUsedAt"] > shown["lastUsedAt"] > shown["metadata"]["createdAt"]
    server.logged(event="sandbox_suspended", sandbox=box)
    server.logged(event="sandbox_resumed", sandbox=box)


def test_a_process_keeps_it_awake_only_when_it_says_so(api: httpx.Client, box: str) -> None:
    start(api, box, "sleep 1000", name="long")
    asleep(api, box)
    start(api, box, "sleep 1000", name="kept", keepAlive=True, timeout=0)
    stays_awake(api, box)
    api.delete(f"/main/sandboxes/{box}/process/kept/kill")
    asleep(api, box)
    assert api.get(f"/main/sandboxes/{box}/process/long").json()["status"] == "running"


def test_the_timeout_of_a_keep_alive_process_ends_it_and_then_the_sandbox_sleeps(
    api: httpx.Client, box: str
) -> None:
    start(api, box, "sleep 1000", name="kept", keepAlive=True, timeout=2)
    start(api, box, "sleep 1", name="short", keepAlive=True)
    begin = time.monotonic()
    asleep(api, box)
    assert time.monotonic() - begin > 1.9
    ended = api.get(f"/main/sandboxes/{box}/process/kept").json()
    assert (ended["status"], ended["keepAlive"]) == ("killed", False)


def test_an_open_request_keeps_it_awake(api: httpx.Client, box: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, api, box, f"sleep {3 * SECONDS}; echo done")
        stays_awake(api, box)
        assert waiting.result() == "done\n"
    start(api, box, "sleep 1000", name="quiet")
    with api.stream("GET", f"/main/sandboxes/{box}/process/quiet/logs/stream"):
        stays_awake(api, box)
    with api.stream("GET", f"/main/sandboxes/{box}/watch/filesystem//tmp"):
        stays_awake(api, box)
    asleep(api, box)


async def test_an_open_terminal_keeps_it_awake_and_its_shell_outlives_standby(
    api: httpx.Client, box: str, server: Server
) -> None:
    place = server.url.replace("http", "ws") + f"/main/sandboxes/{box}/terminal/ws?token={KEY}"
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(place) as socket:
            await socket.send_json({"type": "input", "data": "MINE=kept\n"})
            await asyncio.to_thread(stays_awake, api, box)
        await asyncio.to_thread(asleep, api, box)
        async with session.ws_connect(place) as socket, asyncio.timeout(20):
            await socket.send_json({"type": "input", "data": "echo still-$MINE\n"})
            output = ""
            while "still-kept" not in output:
                output += json.loads(await socket.receive_str())["data"]


def test_a_sandbox_is_suspended_although_a_program_in_it_is_busy(
    api: httpx.Client, box: str
) -> None:
    start(api, box, "while :; do :; done")
    start(api, box, "while :; do /bin/true; done")
    asleep(api, box)
    assert run(api, box, "echo here") == "here\n"


# -- what wakes


def test_a_body_in_pieces_wakes_it(api: httpx.Client, box: str) -> None:
    """One whose length is not known beforehand: pieces arrive while the sandbox is woken."""
    url = f"/main/sandboxes/{box}/filesystem/%2Ftmp%2Fpieces"
    asleep(api, box)
    pieces = iter([b'{"content": "', b"x" * 100_000, b'"}'])
    put = api.put(url, content=pieces, headers={"Content-Type": "application/json"})
    assert put.status_code == 200, put.text
    assert api.get(url).json()["size"] == 100_000


def test_a_preview_wakes_it(api: httpx.Client, box: str) -> None:
    start(api, box, "python3 -m http.server 3000 --directory /tmp", waitForPorts=[3000])
    run(api, box, "echo hello > /tmp/page")
    spec = {"metadata": {"name": "web"}, "spec": {"port": 3000, "public": True}}
    url = api.post(f"/v0/sandboxes/{box}/previews", json=spec).json()["spec"]["url"]
    for _ in range(2):
        asleep(api, box)
        assert httpx.get(f"{url}/page", trust_env=False).text == "hello\n"


def test_a_schedule_wakes_it_and_its_process_keeps_it_awake(api: httpx.Client, box: str) -> None:
    asleep(api, box)
    entry = {
        "type": "sleep",
        "value": "1s",
        "input": {"command": f"sleep {2 * SECONDS}; date > /tmp/ran", "name": "job"},
    }
    assert api.post(f"/v0/sandboxes/{box}/schedules", json=entry).status_code == 200
    until(lambda: state(api, box) == "RUNNING")
    asleep(api, box)
    history = f"/v0/sandboxes/{box}/schedule-executions"
    (done,) = api.get(history).json()["data"]
    assert done["statusCode"] == 200
    job = api.get(f"/main/sandboxes/{box}/process/job").json()
    assert (job["status"], job["keepAlive"]) == ("completed", False)
    assert run(api, box, "cat /tmp/ran")


async def test_many_first_requests_resume_it_once(
    api: httpx.Client, box: str, server: Server
) -> None:
    asleep(api, box)
    before = resumed(server, box)
    url = f"{server.url}/main/sandboxes/{box}/process"
    headers = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(number: int) -> str:
            body = {"command": f"echo {number}; sleep 2", "waitForCompletion": True}
            async with session.post(url, json=body) as answer:
                out: str = (await answer.json())["stdout"]
                return out

        answers = await asyncio.gather(*map(ask, range(50)))
    assert answers == [f"{number}\n" for number in range(50)]
    assert resumed(server, box) == before + 1


def resumed(server: Server, box: str) -> int:
    return sum(e.get("event") == "sandbox_resumed" and e["sandbox"] == box for e in server.events())


async def test_a_request_in_the_very_moment_of_falling_asleep_is_answered(
    api: httpx.Client, box: str, server: Server
) -> None:
    """Requests about as far apart as it takes to fall asleep: many meet the step in between."""
    before = resumed(server, box)
    url = f"{server.url}/main/sandboxes/{box}/health"
    headers = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for number in range(20):
            await asyncio.sleep(SECONDS * random.uniform(1.0, 1.3))
            begin = time.monotonic()
            async with session.get(url) as answer:
                assert answer.status == 200, (number, await answer.text())
            assert time.monotonic() - begin < 5
    assert resumed(server, box) > before


def test_forty_fall_asleep_and_wake_all_at_once(api: httpx.Client, server: Server) -> None:
    names = [f"many-{number}" for number in range(40)]

    def each(step: Callable[[httpx.Client, str], Any]) -> list[Any]:
        def one(name: str) -> Any:
            with server.client_for(KEY) as client:
                return step(client, name)

        with ThreadPoolExecutor(20) as pool:
            return list(pool.map(one, names))

    try:
        each(create)
        each(lambda client, name: start(client, name, "echo started; sleep 1000", name="p"))
        asleep(api, *names)
        assert api.get("/health").json()["sandboxes"] == {"running": 0}
        assert each(lambda client, name: run(client, name, "hostname")) == [f"{n}\n" for n in names]
    finally:
        each(lambda client, name: client.delete(f"/v0/sandboxes/{name}"))


# -- the rest of a life, asleep


def test_a_sleeping_sandbox_changes_and_ends_like_any_other(api: httpx.Client, box: str) -> None:
    pid = start(api, box, "sleep 1000", name="p")["pid"]
    asleep(api, box)
    made = api.get(f"/v0/sandboxes/{box}").json()
    made["metadata"]["labels"] = {"a": "b"}
    made["spec"]["runtime"]["ttl"] = "1h"
    changed = api.put(f"/v0/sandboxes/{box}", json=made).json()
    assert (changed["state"], changed["metadata"]["labels"]) == ("STANDBY", {"a": "b"})
    assert 3590 <= changed["expiresIn"] <= 3600
    assert api.get(f"/main/sandboxes/{box}/process/p").json()["pid"] == pid
    asleep(api, box)
    changed["spec"]["runtime"]["envs"] = [{"name": "N", "value": "2"}]
    anew = api.put(f"/v0/sandboxes/{box}", json=changed).json()
    assert anew["state"] == "RUNNING"
    assert run(api, box, "echo $N") == "2\n"
    asleep(api, box)
    gone = api.delete(f"/v0/sandboxes/{box}").json()
    assert (gone["status"], gone.get("state")) == ("TERMINATED", None)
    assert api.get(f"/main/sandboxes/{box}/health").status_code == 404


def test_time_is_up_asleep_too(api: httpx.Client, name: str) -> None:
    spec = {"runtime": {"memory": 512, "ttl": "3s"}}
    api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec})
    asleep(api, name)
    until(lambda: api.get(f"/v0/sandboxes/{name}").json()["status"] == "TERMINATED")


def test_idle_time_counts_on_asleep_and_begins_anew_with_a_request(
    api: httpx.Client, name: str
) -> None:
    policy = {"type": "ttl-idle", "value": "2s", "action": "delete"}
    spec = {"runtime": {"memory": 512}, "lifecycle": {"expirationPolicies": [policy]}}
    made = api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec}).json()
    assert made["expiresIn"] == 2
    for _ in range(2):
        asleep(api, name)
        time.sleep(1)
        assert run(api, name, "echo here") == "here\n"
        assert api.get(f"/v0/sandboxes/{name}").json()["expiresIn"] == 2
    asleep(api, name)
    begin = time.monotonic()
    until(lambda: api.get(f"/v0/sandboxes/{name}").json()["status"] == "TERMINATED")
    assert time.monotonic() - begin > 1


def test_time_asleep_costs_nothing(api: httpx.Client, box: str) -> None:
    account = api.get("/v0/accounts").json()[0]["id"]

    def used() -> float:
        query = today(groupBy="billing_dimension", resourceName=box)
        answer = api.get(f"/v0/accounts/{account}/metrics", params=query).json()
        (row,) = answer["data"]
        assert row["billingDimension"] == "sandbox_compute_runtime_gbs"
        usage: float = row["summary"]["usage"]
        return usage

    asleep(api, box)
    first = used()
    assert first > 0
    time.sleep(1)
    assert used() == first
    begin = time.monotonic()
    run(api, box, "sleep 1")
    asleep(api, box)
    second = used()
    assert 0.5 <= second - first <= 0.5 * (time.monotonic() - begin) + 0.01
    time.sleep(0.5)
    assert used() == second


# -- crashes and stops


def test_a_crash_of_the_server_leaves_sleeping_sandboxes_asleep(
    new_server: Callable[..., Server],
) -> None:
    with another(new_server) as server:
        api = server.client
        create(api, "box")
        pid = start(api, "box", "sleep 1000", name="p")["pid"]
        asleep(api, "box")
        before = api.get("/v0/sandboxes/box").json()
        server.kill()
        server.start()
        assert api.get("/v0/sandboxes/box").json() | {"lastUsedAt": ""} == before | {
            "lastUsedAt": ""
        }
        assert server.logged(event="sandbox_adopted")["asleep"] is True
        process = api.get("/main/sandboxes/box/process/p").json()
        assert (process["pid"], process["status"]) == (pid, "running")


@pytest.mark.parametrize("stands", [True, False])
async def test_a_crash_between_a_step_and_its_row_is_repaired_by_looking(
    new_server: Callable[..., Server], stands: bool
) -> None:
    with another(new_server) as server:
        api = server.client
        create(api, "box")
        start(api, "box", "sleep 1000", name="p", keepAlive=stands, timeout=0)
        if not stands:
            asleep(api, "box")
        server.kill()
        handle = handle_of(server)
        runtime = EmbeddedRuntime(server.data_dir)
        await (runtime.suspend if stands else runtime.resume)(handle)
        server.start()
        if not stands:
            server.logged(event="sandbox_resumed")
        asleep(api, "box")
        assert api.get("/main/sandboxes/box/process/p").json()["status"] == "running"


async def test_what_somebody_else_thaws_or_freezes_is_put_right(
    new_server: Callable[..., Server],
) -> None:
    with another(new_server) as server:
        api = server.client
        create(api, "box")
        start(api, "box", "sleep 1000", name="p")
        asleep(api, "box")
        runtime, handle = EmbeddedRuntime(server.data_dir), handle_of(server)
        await runtime.resume(handle)
        until(lambda: state(api, "box") == "RUNNING")
        start(api, "box", "sleep 1000", keepAlive=True)
        await runtime.suspend(handle)
        assert run(api, "box", "echo here") == "here\n"


def handle_of(server: Server) -> SandboxHandle:
    """The handle of a server's only sandbox."""
    db = Database(server.data_dir / "serai.db")
    text = db.read_now(lambda conn: conn.execute(select(sandboxes.c.handle)).scalar_one())
    return msgspec.json.decode(text, type=SandboxHandle)


def test_a_stop_can_leave_them_suspended_for_the_next_start(
    new_server: Callable[..., Server],
) -> None:
    with another(new_server, SERAI_ON_STOP="suspend") as server:
        api = server.client
        for name in ("used", "slept"):
            create(api, name)
            start(api, name, "sleep 1000", name="p")
        asleep(api, "slept")
        start(api, "used", "sleep 1000", keepAlive=True)
        assert server.stop() == 0
        server.start()
        assert api.get("/health").json()["sandboxes"] == {"running": 0}
        for name in ("used", "slept"):
            assert state(api, name) == "STANDBY"
            assert api.get(f"/main/sandboxes/{name}/process/p").json()["status"] == "running"
            assert api.delete(f"/v0/sandboxes/{name}").is_success  # or they outlive the test


def test_a_stop_ends_sleeping_sandboxes_too_and_their_time_goes_on(
    new_server: Callable[..., Server],
) -> None:
    with another(new_server) as server:
        api = server.client
        spec = {"runtime": {"memory": 512, "ttl": "1h"}}
        api.post("/v0/sandboxes", json={"metadata": {"name": "box"}, "spec": spec})
        asleep(api, "box")
        assert server.stop() == 0
        server.start()
        shown = api.get("/v0/sandboxes/box").json()
        assert shown["state"] == "STANDBY"
        assert 3500 <= shown["expiresIn"] <= 3600
        shown["spec"]["runtime"]["ttl"] = "1s"
        assert api.put("/v0/sandboxes/box", json=shown).json()["state"] == "STANDBY"
        until(lambda: api.get("/v0/sandboxes/box").json()["status"] == "TERMINATED")


@pytest.mark.parametrize("value", ["-1", "0.01", "soon", "nan", "100000"])
def test_a_wrong_setting_is_named(new_server: Callable[..., Server], value: str) -> None:
    refused = new_server(SERAI_STANDBY_SECONDS=value).run("up")
    assert refused.returncode == 2
    assert f"SERAI_STANDBY_SECONDS is '{value}'" in refused.stderr
    assert "0 for never" in refused.stderr
