"""Scale to zero, more instances under load, canaries, switches under load, and crashes."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server

from .apps import deploy, deployment, lines_of, until, who

pytestmark = pytest.mark.sandbox
numbers = itertools.count()


def test_nothing_runs_when_nobody_asks(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_STANDBY_SECONDS="0.5", SERAI_INSTANCE_STOP_SECONDS="1").start()
    api = server.client
    deploy(api, deployment("lazy", runtime=who("lazy")))
    until(lambda: lines_of(server.client, "lazy", "leaving"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.get("/main/agents/lazy").status_code, range(8)))
    assert answers == [200] * 8
    until(lambda: lines_of(server.client, "lazy", "started") == 2)
    assert server.stop() == 0


def test_an_instance_that_stands_goes_on(quick: httpx.Client) -> None:
    name = f"scale-{next(numbers)}"
    deploy(quick, deployment(name, runtime={"minScale": 0}))
    for _ in range(4):
        assert quick.get(f"/main/agents/{name}").status_code == 200
        threading.Event().wait(0.8)  # longer than the time after which it stands
    quick.delete(f"/v0/agents/{name}")


def test_a_switch_under_load_loses_nothing(api: httpx.Client, server: Server) -> None:
    name = f"scale-{next(numbers)}"
    deploy(api, deployment(name, runtime=who("blue")))
    seen: Counter[str] = Counter()
    failures: list[Any] = []
    stop = threading.Event()

    def ask() -> None:
        with server.client_for(KEY) as client:
            while not stop.is_set():
                answer = client.post(f"/main/agents/{name}", content=b"x")
                if answer.status_code == 200:
                    seen[answer.json()["who"]] += 1
                else:
                    failures.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: seen["blue"] > 50)
    deploy(api, deployment(name, runtime=who("green")))
    until(lambda: seen["green"] > 50)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    api.delete(f"/v0/agents/{name}")


def test_a_canary_gets_its_share_and_callers_stick_to_it(api: httpx.Client, server: Server) -> None:
    name = f"scale-{next(numbers)}"
    deploy(api, deployment(name, runtime=who("blue")))
    route = {"traffic": 50, "stickySessionTtl": 60}
    answer = api.put(
        f"/v0/agents/{name}", json=deployment(name, runtime=who("canary"), revision=route)
    )
    assert answer.json()["spec"]["revision"]["canaryPercent"] == 50

    def ask(client: httpx.Client, **headers: str) -> str:
        return str(client.get(f"/main/agents/{name}", headers=headers).json()["who"])

    def fresh() -> str:
        with server.client_for(KEY) as client:
            first = ask(client)
            if "serai-revision" in client.cookies:
                assert {ask(client) for _ in range(5)} == {first}
            return first

    until(lambda: fresh() == "canary")
    assert {fresh() for _ in range(40)} == {"blue", "canary"}
    with server.client_for(KEY) as client:
        for thread in ("a", "b", "c"):
            client.cookies.clear()
            assert len({ask(api, **{"Thread-Id": thread}) for _ in range(6)}) == 1
    api.delete(f"/v0/agents/{name}")


def test_more_instances_under_load(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_INSTANCE_CONCURRENCY="1").start()
    api = server.client
    deploy(api, deployment("busy", runtime=who("busy") | {"maxScale": 2}))
    with ThreadPoolExecutor(6) as pool:
        slow = [pool.submit(api.get, "/main/agents/busy/slow?s=2") for _ in range(6)]
        assert {one.result().status_code for one in slow} == {200}
    until(lambda: lines_of(server.client, "busy", "started") == 2)


def test_a_killed_platform_finds_its_instances_again(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    deploy(api, deployment("lasting", runtime=who("lasting")))
    api.get("/main/agents/lasting")
    until(lambda: lines_of(server.client, "lasting", "started lasting") == 1)
    until(lambda: lines_of(server.client, "lasting", "serves.") == 1)
    server.kill()
    server.start()
    assert api.get("/main/agents/lasting").json()["who"] == "lasting"
    server.logged(event="instance_adopted", name="lasting")
    assert lines_of(server.client, "lasting", "serves.") == 1
    assert lines_of(server.client, "lasting", "started lasting") in {
        1,
        2,
    }
    server.kill()
    api.close()
    server.client = server.client_for(KEY)
    server.start()
    server.client.delete("/v0/agents/lasting")
    until(
        lambda: (
            server.client.get("/main/agents/lasting").json()["error"]["code"]
            == "WORKLOAD_NOT_FOUND"
        )
    )
    until(
        lambda: (
            not list((server.data_dir / "sandboxes").glob("*"))
            if (server.data_dir / "sandboxes").exists()
            else True
        )
    )
