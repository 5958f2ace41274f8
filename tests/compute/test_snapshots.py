"""Snapshots, restore, forks and archives over HTTP."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from compute.conftest import create
from platform_server import Server, today

pytestmark = pytest.mark.sandbox
numbers = itertools.count()


def run(api: httpx.Client, sandbox: str, command: str) -> str:
    """What a command prints, which must succeed."""
    body = {"command": command, "waitForCompletion": True}
    done = api.post(f"/main/sandboxes/{sandbox}/process", json=body)
    assert done.status_code == 200, done.text
    assert done.json()["exitCode"] == 0, done.text
    return str(done.json()["stdout"]).strip()


def snapshot(api: httpx.Client, sandbox: str, name: str | None = None) -> dict[str, Any]:
    """A new snapshot of a sandbox."""
    body = {"name": name} if name else None
    made = api.post(f"/v0/sandboxes/{sandbox}/snapshots", json=body)
    assert made.status_code == 200, made.text
    assert made.json()["status"] == "ready"
    return dict(made.json())


def fork(api: httpx.Client, path: str, target: str, **more: Any) -> httpx.Response:
    """Fork into a sandbox."""
    body = {"targetName": target, "targetType": "sandbox"} | more
    return api.post(f"/v0/{path}/fork", json=body)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status_code, str(answer.json()["error"])


def kept(server: Server, kind: str) -> set[str]:
    """What a server keeps on disk; it may have mounted a part of that for itself alone."""
    assert server.process is not None
    data = Path(f"/proc/{server.process.pid}/root{server.data_dir}")
    places = [data / kind, data / "pool" / kind]
    return {path.name for place in places if place.exists() for path in place.iterdir()}


@pytest.fixture
def target(api: httpx.Client) -> Iterator[str]:
    """A free name for a fork."""
    fresh = f"fork-{next(numbers)}"
    yield fresh
    api.delete(f"/v0/sandboxes/{fresh}")


@pytest.fixture(autouse=True)
def no_snapshots_left(api: httpx.Client) -> Iterator[None]:
    yield
    while found := api.get("/v0/snapshots").json()["data"]:
        for one in found:
            assert api.delete(f"/v0/snapshots/{one['id']}").status_code == 204


def test_a_snapshot_tells_what_it_is(api: httpx.Client, box: str) -> None:
    run(api, box, "head -c 5000000 /dev/urandom > /blaxel/data")
    made = snapshot(api, box, "before-migration")
    assert made["id"].startswith("snap_")
    assert made["name"] == "before-migration"
    assert (made["sandboxName"], made["workspace"]) == (box, "main")
    assert made["source"] == {"name": box, "kind": "sandbox", "deleted": False}
    assert made["spec"] == {"image": "blaxel/base-image:latest", "memory": 512}
    assert made["contents"] == "files"
    assert 5_000_000 <= made["size"] < 7_000_000
    assert api.get(f"/v0/snapshots/{made['id']}").json() == made
    assert api.get(f"/v0/sandboxes/{box}/snapshots").json() == [made]
    unnamed = snapshot(api, box)
    assert unnamed["name"] == unnamed["id"]
    both = api.get(f"/v0/sandboxes/{box}/snapshots").json()
    assert [one["id"] for one in both] == [unnamed["id"], made["id"]]
    again = api.post(f"/v0/sandboxes/{box}/snapshots", json={"name": "before-migration"})
    assert refusal(again) == (409, "SNAPSHOT_ALREADY_EXISTS")
    assert api.delete(f"/v0/sandboxes/{box}/snapshots/before-migration").status_code == 204
    assert refusal(api.get(f"/v0/snapshots/{made['id']}")) == (404, "SNAPSHOT_NOT_FOUND")
    entries = api.get("/v0/audit", params={"kind": "snapshot", "limit": "200"}).json()
    actions = [one["action"] for one in entries["data"] if one["resource"]["id"] == made["id"]]
    assert actions == ["delete", "create"]


def test_a_sandbox_goes_back(api: httpx.Client, box: str) -> None:
    run(api, box, "echo one > /blaxel/state && rm -f /etc/motd && mkdir /srv/kept")
    url = api.get(f"/v0/sandboxes/{box}").json()["metadata"]["url"]
    snapshot(api, box, "first")
    run(api, box, "echo two > /blaxel/state && rmdir /srv/kept && echo x > /etc/motd")
    second = snapshot(api, box, "second")
    for name, state, kept in (("first", "one", 0), (second["id"], "two", 1), ("first", "one", 0)):
        path = f"/v0/sandboxes/{box}/snapshots/{name}/restore"
        done = api.post(path)
        assert done.status_code == 200, done.text
        assert done.json()["name"] == box
        assert run(api, box, "cat /blaxel/state; test -d /srv/kept; echo $?") == f"{state}\n{kept}"
    third = snapshot(api, box)  # of what lies on a snapshot
    run(api, box, "rm /blaxel/state")
    api.post(f"/v0/sandboxes/{box}/snapshots/{third['id']}/restore")
    assert run(api, box, "cat /blaxel/state; ls /etc/motd 2>&1 || true").startswith("one")
    now = api.get(f"/v0/sandboxes/{box}").json()
    assert (now["metadata"]["url"], now["status"], now["state"]) == (url, "DEPLOYED", "RUNNING")


def test_a_fork_is_a_sandbox_of_its_own(api: httpx.Client, name: str, target: str) -> None:
    envs = [
        {"name": "PLAIN", "value": "p"},
        {"name": "SECRET", "value": "s3cret", "secret": True},
    ]
    runtime = {"memory": 512, "envs": envs, "ttl": "2h", "ports": [{"target": 3000}]}
    body = {"metadata": {"name": name, "labels": {"a": "b"}}, "spec": {"runtime": runtime}}
    assert api.post("/v0/sandboxes", json=body).status_code == 200
    run(api, name, "echo shared > /blaxel/file && (sleep 300 &)")
    more = [{"name": "PLAIN", "value": "other"}, {"name": "NEW", "value": "n"}]
    made = fork(api, f"sandboxes/{name}", target, envs=more, port=4000)
    assert made.json() == {"type": "sandbox", "name": target, "contents": "files"}
    shown = api.get(f"/v0/sandboxes/{target}").json()
    assert (shown["status"], shown["spec"]["runtime"]["ttl"]) == ("DEPLOYED", "2h")
    assert [port["target"] for port in shown["spec"]["runtime"]["ports"]] == [3000, 4000]
    assert "s3cret" not in str(shown)
    told = run(api, target, "hostname; echo $PLAIN $SECRET $NEW; cat /blaxel/file /etc/hostname")
    assert told.split("\n") == [target, "other s3cret n", "shared", target]
    assert run(api, name, "cat /etc/machine-id") != run(api, target, "cat /etc/machine-id")
    run(api, target, "echo changed > /blaxel/file")
    run(api, name, "echo changed again > /blaxel/file")
    assert run(api, target, "cat /blaxel/file") == "changed"
    assert api.get("/v0/snapshots").json()["data"] == [], "a fork leaves no snapshot"
    assert refusal(fork(api, f"sandboxes/{name}", target)) == (409, "SANDBOX_ALREADY_EXISTS")
    assert refusal(fork(api, f"sandboxes/{name}", name)) == (409, "SANDBOX_ALREADY_EXISTS")


def test_a_fork_may_have_a_life_of_its_own(api: httpx.Client, box: str, target: str) -> None:
    policy = {"type": "ttl-max-age", "value": "1h", "action": "delete"}
    fork(api, f"sandboxes/{box}", target, lifecycle={"expirationPolicies": [policy]})
    shown = api.get(f"/v0/sandboxes/{target}").json()
    assert shown["spec"]["lifecycle"] == {"expirationPolicies": [policy]}


def test_snapshots_outlive_their_sandbox(api: httpx.Client, box: str, target: str) -> None:
    run(api, box, "echo kept > /blaxel/file")
    made = snapshot(api, box)
    api.delete(f"/v0/sandboxes/{box}")
    create(api, box)  # another one of that name
    assert api.get(f"/v0/sandboxes/{box}/snapshots").json() == []
    restored = api.post(f"/v0/sandboxes/{box}/snapshots/{made['id']}/restore")
    assert refusal(restored) == (404, "SNAPSHOT_NOT_FOUND")
    assert api.get(f"/v0/snapshots/{made['id']}").json()["source"]["deleted"] is True
    done = fork(api, f"snapshots/{made['id']}", target)
    made_of = {"type": "sandbox", "name": target, "snapshotId": made["id"], "contents": "files"}
    assert done.json() == made_of
    assert run(api, target, "cat /blaxel/file") == "kept"


def test_files_stay_while_somebody_lies_on_them(
    api: httpx.Client, server: Server, box: str, target: str
) -> None:
    run(api, box, "echo below > /blaxel/file")
    made = snapshot(api, box)
    fork(api, f"snapshots/{made['id']}", target)
    assert api.delete(f"/v0/snapshots/{made['id']}").status_code == 204
    assert refusal(fork(api, f"snapshots/{made['id']}", "late")) == (404, "SNAPSHOT_NOT_FOUND")
    assert run(api, target, "cat /blaxel/file") == "below"
    second = f"{target}-two"
    fork(api, f"sandboxes/{target}", second)
    api.delete(f"/v0/sandboxes/{target}")
    assert run(api, second, "cat /blaxel/file") == "below"
    assert kept(server, "saved") == {made["id"]}
    api.delete(f"/v0/sandboxes/{second}")
    until(lambda: not kept(server, "saved"))


def test_many_forks_at_once(api: httpx.Client, box: str) -> None:
    run(api, box, "head -c 3000000 /dev/zero > /blaxel/data; echo x > /blaxel/x")
    made = snapshot(api, box)
    names = [f"crowd-{number}" for number in range(6)]
    paths = [f"sandboxes/{box}", f"snapshots/{made['id']}"] * 3
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda pair: fork(api, *pair), zip(paths, names, strict=True)))
    assert [one.status_code for one in answers] == [200] * 6, answers[0].text
    for name in names:
        assert run(api, name, "cat /blaxel/x; hostname") == f"x\n{name}"
        api.delete(f"/v0/sandboxes/{name}")


def test_a_list_has_pages(api: httpx.Client, box: str) -> None:
    made = [snapshot(api, box, f"page-{number}") for number in range(5)]
    names = [one["name"] for one in made]

    def pages(**params: str) -> list[str]:
        found, cursor = list[str](), ""
        while True:
            page = api.get("/v0/snapshots", params=params | {"limit": "2", "cursor": cursor})
            assert page.status_code == 200, page.text
            assert page.json()["meta"]["total"] == 5
            found += [one["name"] for one in page.json()["data"]]
            cursor = page.json()["meta"]["nextCursor"]
            if not cursor:
                return found

    assert pages() == names[::-1]
    assert pages(sort="name:asc") == names
    assert pages(sort="createdAt:asc") == names
    last = api.get("/v0/snapshots", params={"anchor": "end", "limit": "2"}).json()
    assert [one["name"] for one in last["data"]] == ["page-1", "page-0"]
    found = api.get("/v0/snapshots", params={"q": "AGE-3"}).json()
    assert [one["name"] for one in found["data"]] == ["page-3"]
    assert api.get("/v0/snapshots", params={"cursor": "x"}).status_code == 400


def test_an_application_comes_from_a_snapshot(api: httpx.Client, box: str) -> None:
    run(api, box, "echo served > /blaxel/file")
    body = {"targetName": "from-box", "targetType": "application", "port": 3000}
    body |= {"customDomain": "app.example.com", "prefix": "me"}
    made = api.post(f"/v0/sandboxes/{box}/fork", json=body)
    assert made.status_code == 200, made.text
    snapshot_id = made.json()["snapshotId"]
    app = api.get("/v0/applications/from-box").json()
    assert app["status"] == "DEACTIVATED", "this version runs no applications"
    assert app["spec"]["snapshot"] == snapshot_id
    assert (app["spec"]["port"], app["spec"]["memory"]) == (3000, 512)
    assert app["spec"]["urls"] == [{"domain": "app.example.com", "subdomain": "me"}]
    second = snapshot(api, box)
    body = {"targetName": "from-box", "targetType": "application", "traffic": 10}
    done = api.post(f"/v0/snapshots/{second['id']}/fork", json=body)
    assert done.json()["snapshotId"] == second["id"]
    revisions = api.get("/v0/applications/from-box/revisions").json()
    assert [one["snapshot"] for one in revisions] == [second["id"], snapshot_id]
    route = api.get("/v0/applications/from-box").json()["spec"]["revision"]
    assert route["canaryPercent"] == 10
    kept = api.delete(f"/v0/snapshots/{second['id']}")
    assert refusal(kept) == (409, "SNAPSHOT_IN_USE")
    api.delete("/v0/applications/from-box")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"targetName": "copy"}, "targetType"),
        ({"targetName": "Copy!", "targetType": "sandbox"}, "targetName"),
        ({"targetName": "copy", "targetType": "agent"}, "targetType"),
        ({"targetName": "copy", "targetType": "sandbox", "traffic": 5}, "traffic"),
        ({"targetName": "copy", "targetType": "sandbox", "prefix": "p"}, "prefix"),
        ({"targetName": "copy", "targetType": "sandbox", "port": 0}, "port"),
        ({"targetName": "copy", "targetType": "application", "traffic": 101}, "traffic"),
        ({"targetName": "copy", "targetType": "application", "prefix": "p"}, "customDomain"),
        ({"targetName": "copy", "targetType": "application", "lifecycle": {}}, "lifecycle"),
        (
            {"targetName": "copy", "targetType": "application", "customDomain": "-"},
            "domain",
        ),
        (
            {"targetName": "c", "targetType": "sandbox", "lifecycle": {"terminatedRetention": "x"}},
            "terminatedRetention",
        ),
        (
            {"targetName": "copy", "targetType": "sandbox", "envs": [{"name": "A"}, {"name": "A"}]},
            "envs",
        ),
    ],
)
def test_a_fork_says_what_is_wrong(
    api: httpx.Client, box: str, body: dict[str, Any], word: str
) -> None:
    answer = api.post(f"/v0/sandboxes/{box}/fork", json=body)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["message"]
    assert api.get("/v0/snapshots").json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v0/snapshots/none"),
        ("DELETE", "/v0/snapshots/none"),
        ("POST", "/v0/snapshots/none/fork"),
        ("DELETE", "/v0/sandboxes/{box}/snapshots/none"),
        ("POST", "/v0/sandboxes/{box}/snapshots/none/restore"),
    ],
)
def test_none_is_found(api: httpx.Client, box: str, method: str, path: str) -> None:
    body = {"targetName": "copy", "targetType": "sandbox"}
    answer = api.request(method, path.format(box=box), json=body)
    assert refusal(answer) == (404, "SNAPSHOT_NOT_FOUND")


def test_bad_snapshots(api: httpx.Client, box: str) -> None:
    for body, word in (
        ({}, "source"),
        ({"source": {}}, "name"),
        ({"source": {"name": box, "kind": "agent"}}, "kind"),
        ({"source": {"name": box}, "name": "No Name"}, "name"),
    ):
        answer = api.post("/v0/snapshots", json=body)
        assert answer.status_code == 400, answer.text
        assert word in answer.json()["message"]
    there = api.post("/v0/snapshots", json={"source": {"name": "nobody"}})
    assert refusal(there) == (404, "SANDBOX_NOT_FOUND")
    made = api.post("/v0/snapshots", json={"source": {"name": box}, "name": "by-root"})
    assert made.json()["name"] == "by-root"


def test_the_sandbox_must_be_there(api: httpx.Client) -> None:
    body = {"targetName": "copy", "targetType": "sandbox"}
    for method, rest in (
        ("GET", "snapshots"),
        ("POST", "snapshots"),
        ("POST", "fork"),
        ("POST", "archive"),
        ("POST", "unarchive"),
    ):
        answer = api.request(method, f"/v0/sandboxes/no-such-box/{rest}", json=body)
        assert refusal(answer) == (404, "SANDBOX_NOT_FOUND")


def test_an_ended_sandbox_has_no_files(api: httpx.Client, box: str) -> None:
    api.delete(f"/v0/sandboxes/{box}")
    body = {"targetName": "copy", "targetType": "sandbox"}
    for rest in ("snapshots", "fork", "archive", "unarchive"):
        answer = api.post(f"/v0/sandboxes/{box}/{rest}", json=body)
        assert refusal(answer) == (409, "SANDBOX_TERMINATED"), rest


def test_a_quota_of_snapshots(api: httpx.Client, box: str) -> None:
    account = api.get("/v0/accounts").json()[0]["id"]
    limits = f"/v0/quotas/account/{account}"
    run(api, box, "head -c 20000000 /dev/urandom > /blaxel/data")
    try:
        limit = [{"resourceType": "snapshot_storage", "value": 10}]
        assert api.put(limits, json=limit).status_code == 200
        refused = api.post(f"/v0/sandboxes/{box}/snapshots")
        assert refused.status_code == 402, refused.text
        assert "MiB of snapshots" in refused.json()["message"]
        assert api.get("/v0/snapshots").json()["data"] == []
        api.put(limits, json=[{"resourceType": "snapshot_storage", "value": 30}])
        snapshot(api, box)
        assert api.post(f"/v0/sandboxes/{box}/snapshots").status_code == 402
        used = next(one for one in api.get(limits).json() if "snapshot" in one["resourceType"])
        assert used["used"] == 20
    finally:
        api.put(limits, json=[])


def test_an_archived_sandbox_costs_no_runtime(
    api: httpx.Client, server: Server, box: str, target: str
) -> None:
    run(
        api,
        box,
        "yes | head -c 30000000 > /blaxel/data; ln /blaxel/data /srv/twin; rm /etc/motd -f",
    )
    before = run(api, box, "sha256sum < /srv/twin; stat -c %h /srv/twin")
    others = kept(server, "sandboxes")
    done = api.post(f"/v0/sandboxes/{box}/archive")
    assert done.status_code == 200, done.text
    shown = api.get(f"/v0/sandboxes/{box}").json()
    assert (shown["status"], shown.get("state")) == ("ARCHIVED", None)
    assert 1000 < shown["archive"]["size"] < 3_000_000
    assert len(others - kept(server, "sandboxes")) == 1
    away = api.get(f"/main/sandboxes/{box}/health")
    assert away.status_code == 503
    assert "unarchive" in away.text
    for rest in ("archive", "snapshots", "fork"):
        body = {"targetName": target, "targetType": "sandbox"}
        refused = api.post(f"/v0/sandboxes/{box}/{rest}", json=body)
        assert refusal(refused) == (409, "SANDBOX_ARCHIVED")
    listed = api.get("/v0/sandboxes", headers={"Blaxel-Version": "2026-04-28"})
    assert listed.status_code == 200
    back = api.post(f"/v0/sandboxes/{box}/unarchive")
    assert back.status_code == 200, back.text
    shown = api.get(f"/v0/sandboxes/{box}").json()
    assert (shown["status"], shown["state"]) == ("DEPLOYED", "RUNNING")
    assert "archive" not in shown
    assert run(api, box, "sha256sum < /srv/twin; stat -c %h /srv/twin") == before
    assert not kept(server, "archived")
    assert refusal(api.post(f"/v0/sandboxes/{box}/unarchive")) == (409, "SANDBOX_NOT_ARCHIVED")


def test_processes_start_again_when_a_sandbox_comes_back(
    api: httpx.Client, server: Server, box: str
) -> None:
    """With their names, variables and directories, and new numbers; what had ended does not."""
    url = f"/main/sandboxes/{box}"
    serve = "echo started in $PWD as $MINE; exec python3 -m http.server 8123"
    body = {"command": serve, "name": "web", "workingDir": "/srv", "env": {"MINE": "own"}}
    more = {"keepAlive": True, "timeout": 0, "restartOnFailure": True, "maxRestarts": 3}
    before = api.post(f"{url}/process", json=body | more | {"waitForPorts": [8123]}).json()
    api.post(f"{url}/process", json={"command": "true", "name": "done", "waitForCompletion": True})
    api.post(f"{url}/process", json={"command": "sleep 1000", "name": "idle"})
    assert api.post(f"/v0/sandboxes/{box}/archive").json()["status"] == "ARCHIVED"
    assert b"MINE" not in (server.data_dir / "serai.db").read_bytes()
    assert api.post(f"/v0/sandboxes/{box}/unarchive").json()["status"] == "DEPLOYED"
    found = {each["name"]: each for each in api.get(f"{url}/process").json()}
    assert set(found) == {"web", "idle"}
    web = found["web"]
    assert (web["status"], web["keepAlive"], web["maxRestarts"]) == ("running", True, 3)
    assert web["command"] == before["command"]
    until(lambda: api.get(f"{url}/port/8123/").status_code == 200)
    logs = api.get(f"{url}/process/web/logs").json()["stdout"]
    assert logs.startswith("started in /srv as own")
    api.post(f"/v0/sandboxes/{box}/archive")
    api.post(f"/v0/sandboxes/{box}/unarchive")
    assert len(api.get(f"{url}/process").json()) == 2, "as often as it likes"


def test_an_archived_fork_comes_back(api: httpx.Client, box: str, target: str) -> None:
    run(api, box, "echo below > /blaxel/below")
    made = snapshot(api, box)
    fork(api, f"snapshots/{made['id']}", target)
    run(api, target, "echo above > /blaxel/above")
    api.post(f"/v0/sandboxes/{target}/archive")
    api.delete(f"/v0/snapshots/{made['id']}")
    assert api.post(f"/v0/sandboxes/{target}/unarchive").json()["status"] == "DEPLOYED"
    assert run(api, target, "cat /blaxel/below /blaxel/above") == "below\nabove"


def test_an_archived_sandbox_is_deleted_with_its_archive(
    api: httpx.Client, server: Server, box: str
) -> None:
    api.post(f"/v0/sandboxes/{box}/archive")
    assert len(kept(server, "archived")) == 1
    assert api.delete(f"/v0/sandboxes/{box}").json()["status"] == "TERMINATED"
    until(lambda: not kept(server, "archived"))
    create(api, box)


def test_kept_files_are_paid_for(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    api = server.client
    create(api, "metered")
    run(api, "metered", "head -c 50000000 /dev/urandom > /blaxel/data")
    account = api.get("/v0/accounts").json()[0]["id"]
    begin = time.time()
    made = snapshot(api, "metered")

    def used() -> float:
        params = today(groupBy="billing_dimension", resourceName="metered")
        answer = api.get(f"/v0/accounts/{account}/metrics", params=params)
        rows = {row["billingDimension"]: row for row in answer.json()["data"]}
        row = rows.get("sandbox_snapshot_storage_gbs")
        return float(row["summary"]["usage"]) if row else 0.0

    time.sleep(1.2)
    most = made["size"] / (1 << 30) * 1.03
    assert 0.5 * most < used() <= most * (time.time() - begin)
    assert api.delete(f"/v0/snapshots/{made['id']}").status_code == 204
    total = used()
    time.sleep(0.5)
    assert used() == total
    assert api.post("/v0/sandboxes/metered/archive").json()["status"] == "ARCHIVED"
    time.sleep(0.5)
    assert used() > total, "an archive is storage, too"
    api.delete("/v0/sandboxes/metered")
    total = used()
    time.sleep(0.5)
    assert used() == total


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must become true."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)
