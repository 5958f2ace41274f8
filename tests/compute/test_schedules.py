"""Schedules: what is stored, what runs when, and what a crash in between leaves."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_server import KEY, Server
from serai.compute import schedule_records as records
from serai.compute.asking import ask
from serai.compute.schedule_records import Span
from serai.compute.schedule_rules import next_run
from serai.compute.schedules import ScheduleService
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest
from serai.resources.store import DocumentStore
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.wire.sandboxes import ScheduleEntry, ScheduleInput

from .conftest import create

pytestmark = pytest.mark.sandbox
CRON = {"type": "cron", "value": "0 8 * * 1-5", "input": {"command": "echo cron"}}


def place(box: str, rest: str = "") -> str:
    return f"/v0/sandboxes/{box}/schedules{rest}"


def add(api: httpx.Client, box: str, **fields: Any) -> dict[str, Any]:
    response = api.post(place(box), json=CRON | fields)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def soon(api: httpx.Client, box: str, command: str, **wanted: Any) -> dict[str, Any]:
    return add(api, box, type="sleep", value="1s", input={"command": command} | wanted)


def executions(api: httpx.Client, box: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/v0/sandboxes/{box}/schedule-executions").json()["data"]
    return found


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := true()):
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)
    return found


def logs(api: httpx.Client, box: str, process: str) -> str:
    return api.get(f"/main/sandboxes/{box}/process/{process}/logs").text


def test_life_of_a_schedule(api: httpx.Client, box: str) -> None:
    made = add(api, box)
    assert made["id"].startswith("schedule-")
    assert made["input"] == {"command": "echo cron", "keepAlive": True, "timeout": 600}
    assert (made["sandbox"], made["maxExecutions"]) == (box, 100)
    assert api.get(place(box, f"/{made['id']}")).json() == made
    changed = api.put(place(box, f"/{made['id']}"), json=CRON | {"value": "30 9 * * *"}).json()
    assert (changed["value"], changed["createdAt"]) == ("30 9 * * *", made["createdAt"])
    assert api.delete(place(box, f"/{made['id']}")).json() == changed
    assert api.get(place(box, f"/{made['id']}")).json()["code"] == 404


def test_sleep_is_kept_as_the_moment_it_means(api: httpx.Client, box: str) -> None:
    made = add(api, box, type="sleep", value="2h")
    at = datetime.fromisoformat(made["value"])
    assert made["type"] == "at"
    assert abs(at - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)


def test_lists_are_pages_even_when_empty(api: httpx.Client, server: Server, box: str) -> None:
    empty = {"data": [], "meta": {"hasMore": False, "nextCursor": "", "total": 0}}
    paths = (place(box), f"/v0/sandboxes/{box}/schedule-executions")
    for path in paths:
        assert api.get(path).json() == empty
    with server.client_for(KEY, **{"Blaxel-Version": "2026-04-16"}) as older:
        for path in paths:
            assert older.get(path).json() == []


def test_pages(api: httpx.Client, box: str) -> None:
    ids = [add(api, box, id=f"s-{number}")["id"] for number in range(5)]
    add(api, box, type="sleep", value="1h", id="later", input={"command": "make tea"})
    for sort, wanted in (("createdAt:asc", [*ids, "later"]), ("name:desc", [*ids[::-1], "later"])):
        seen, cursor = [], ""
        while True:
            query = {"limit": "2", "sort": sort} | ({"cursor": cursor} if cursor else {})
            page = api.get(place(box), params=query).json()
            assert page["meta"]["total"] == 6
            seen += [one["id"] for one in page["data"]]
            cursor = page["meta"]["nextCursor"]
            if not page["meta"]["hasMore"]:
                break
        assert sorted(seen) == sorted(wanted)
        assert [one for one in seen if one != "later"] == wanted[:-1]
    filtered = api.get(place(box), params={"type": "at"}).json()["data"]
    assert [one["id"] for one in filtered] == ["later"]
    found = api.get(place(box), params={"q": "TEA"}).json()["data"]
    assert [one["id"] for one in found] == ["later"]
    everywhere = api.get("/v0/schedules", params={"sandbox": box, "limit": "100"}).json()
    assert everywhere["meta"]["total"] == 6
    foreign = api.get(place(box), params={"limit": "1"}).json()["meta"]["nextCursor"]
    wrong = api.get("/v0/schedules", params={"cursor": foreign})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "INVALID_CURSOR")
    assert api.get(place(box), params={"limit": "101"}).status_code == 400


def test_a_due_schedule_runs_once_and_is_gone(api: httpx.Client, box: str) -> None:
    made = soon(api, box, "echo $WHO at $(pwd)", env={"WHO": "clock"}, workingDir="/tmp")
    assert made["input"]["env"] == {"WHO": "********"}
    done = until(lambda: executions(api, box))[0]
    assert (done["status"], done["statusCode"], done["timeout"]) == ("succeeded", 200, 600)
    assert done["scheduleId"] == made["id"]
    until(lambda: "clock at /tmp" in logs(api, box, done["processName"]))
    assert api.get(place(box)).json()["data"] == []
    time.sleep(1)
    assert len(executions(api, box)) == 1


def test_a_named_process_that_still_runs_refuses_the_next(api: httpx.Client, box: str) -> None:
    soon(api, box, "sleep 60", name="job")
    until(lambda: executions(api, box))
    soon(api, box, "sleep 60", name="job")
    failed = until(lambda: [e for e in executions(api, box) if e["status"] == "failed"])[0]
    assert failed["statusCode"] == 400
    assert "already exists" in failed["error"]
    params = {"sandbox": box, "status": "failed"}
    assert len(api.get("/v0/schedule-executions", params=params).json()["data"]) == 1
    params = {"sandbox": box, "since": failed["executedAt"]}
    assert api.get("/v0/schedule-executions", params=params).json()["data"][0] == failed


def test_what_was_due_during_a_crash_runs_once(new_server: Callable[[], Server]) -> None:
    server = new_server().start()
    create(server.client, "box")
    soon(server.client, "box", "echo $TOKEN >> /tmp/runs", env={"TOKEN": "very-secret"})
    server.kill()
    stored = b"".join(path.read_bytes() for path in server.data_dir.glob("serai.db*"))
    assert b"very-secret" not in stored
    time.sleep(1.5)
    server.start()
    done = until(lambda: executions(server.client, "box"))
    assert [one["status"] for one in done] == ["succeeded"]
    server.stop()
    server.start()
    time.sleep(0.5)
    assert len(executions(server.client, "box")) == 1
    content = server.client.get("/main/sandboxes/box/filesystem//tmp/runs").json()["content"]
    assert content == "very-secret\n"


def test_a_stopped_sandbox_is_woken(new_server: Callable[[], Server]) -> None:
    server = new_server().start()
    create(server.client, "box")
    add(server.client, "box", type="sleep", value="3s", input={"command": "echo woken"})
    server.stop()
    server.start()
    done = until(lambda: executions(server.client, "box"))[0]
    assert done["statusCode"] == 200


def test_schedules_end_with_their_sandbox(api: httpx.Client, name: str) -> None:
    create(api, name)
    soon(api, name, "true")
    add(api, name)
    until(lambda: executions(api, name))
    api.delete(f"/v0/sandboxes/{name}")
    create(api, name)
    assert api.get(place(name)).json()["data"] == []
    assert executions(api, name) == []


def test_history_is_bounded(api: httpx.Client, box: str) -> None:
    for _ in range(3):
        add(api, box, id="again", type="at", value=f"{datetime.now(UTC):%FT%TZ}", maxExecutions=2)
        until(lambda: not api.get(place(box)).json()["data"])
    until(lambda: len(executions(api, box)) == 2)
    time.sleep(0.3)
    numbers = [one["id"] for one in executions(api, box)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 2


def test_secrets_stay_masked_and_survive_an_echo(api: httpx.Client, box: str) -> None:
    made = add(api, box, input={"command": "x", "env": {"KEY": "hidden"}})
    made["input"]["env"]["MORE"] = "new"
    path = place(box, f"/{made['id']}")
    assert "hidden" not in api.put(path, json=made).text
    shown = api.get(path, params={"show_secrets": "true"}).json()
    assert shown["input"]["env"] == {"KEY": "hidden", "MORE": "new"}


def test_metrics(api: httpx.Client, box: str) -> None:
    add(api, box)
    soon(api, box, "true")
    until(lambda: executions(api, box))
    seen = api.get("/v0/schedules/metrics").json()
    assert seen["executions"] == sum(seen["executionsByStatus"].values()) >= 1
    assert seen["schedules"] >= 1
    assert seen["sandboxes"] >= 1
    window = {"since": "2020-01-01T00:00:30Z", "until": "2020-01-01T00:02:30Z"}
    past = api.get("/v0/schedules/metrics", params=window).json()
    assert (past["executions"], past["since"], past["until"]) == (
        0,
        "2020-01-01T00:00:00.000Z",
        "2020-01-01T00:03:00.000Z",
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "daily"}, "type"),
        ({"value": "0 8 * *"}, "value"),
        ({"value": "* * * * * *"}, "value"),
        ({"value": "61 * * * *"}, "value"),
        ({"value": "0 0 31 2 *"}, "value"),
        ({"value": ""}, "value"),
        ({"type": "at", "value": "tomorrow"}, "value"),
        ({"type": "at", "value": "2020-01-01T00:00:00Z"}, "value"),
        ({"type": "sleep", "value": "5 minutes"}, "value"),
        ({"input": {}}, "command"),
        ({"input": {"command": " "}}, "input.command"),
        ({"input": {"command": "x", "timeout": -1}}, "input.timeout"),
        ({"input": {"command": "x", "name": "a/b"}}, "input.name"),
        ({"input": {"command": "x", "env": {"A=B": "1"}}}, "input.env"),
        ({"maxExecutions": 0}, "maxExecutions"),
        ({"id": "../x"}, "id"),
    ],
)
def test_rules_name_the_field(
    api: httpx.Client, box: str, fields: dict[str, Any], field: str
) -> None:
    refused = api.post(place(box), json=CRON | fields)
    assert refused.status_code == 400, refused.text
    assert field in refused.json()["message"]


def test_limits_and_conflicts(api: httpx.Client, box: str) -> None:
    add(api, box, id="one")
    taken = api.post(place(box), json=CRON | {"id": "one"})
    assert (taken.status_code, taken.json()["error"]) == (409, "SCHEDULE_ALREADY_EXISTS")
    renamed = api.put(place(box, "/one"), json=CRON | {"id": "two"})
    assert renamed.status_code == 400
    for _ in range(99):
        add(api, box)
    assert api.post(place(box), json=CRON).json()["error"] == "SCHEDULE_LIMIT"
    assert api.get(place("no-such-box")).json()["code"] == 404
    assert api.post(place("no-such-box"), json=CRON).json()["code"] == 404


@pytest.fixture
def service(tmp_path: Path) -> Any:
    vault = Vault.open(tmp_path / "key")
    db = Database(tmp_path / "db")
    db.open()
    yield ScheduleService(db, DocumentStore(vault, "http://x"), vault)
    db.close()


def entry(**fields: Any) -> ScheduleEntry:
    given = {"type": "cron", "value": "* * * * *", "input": ScheduleInput(command="x")} | fields
    return ScheduleEntry(**given)


async def test_missed_times_of_a_cron_run_once(service: ScheduleService) -> None:
    moment = now()
    body = {"id": "c", "type": "cron", "value": "*/5 * * * *", "maxExecutions": 5}
    body["input"] = {"command": "x", "timeout": 1}  # type: ignore[assignment]
    row = service._row("main", "box", body, "2026-01-01T00:00:00.000Z", moment, {})
    await service.db.write(lambda conn: records.save(conn, row, new=True))
    early = await service.db.write(lambda conn: service.claim(conn, moment))
    late = await service.db.write(lambda conn: service.claim(conn, moment + timedelta(days=1)))
    again = await service.db.write(lambda conn: service.claim(conn, moment + timedelta(days=1)))
    assert (len(early), len(late), len(again)) == (0, 1, 0)
    assert late[0].process_name == "c-1"
    left = await service.db.read(records.unfinished)
    assert [one.seq for one in left] == [1]
    assert await service.db.read(lambda conn: records.waits(conn, left[0]))
    await service.finish(left[0], 200, None)
    assert not await service.db.read(lambda conn: records.waits(conn, left[0]))
    assert await service.db.read(records.unfinished) == []
    span = Span(column="seq", descending=True, after=None, size=10)
    within = records.run_conditions("main", sandbox="box", q="C-1")
    rows, last, total = await service.db.read(lambda conn: records.run_page(conn, within, span))
    assert ([one.status for one in rows], last, total) == (["succeeded"], [], 1)


async def test_a_hostile_sandbox_api_is_bounded(tmp_path: Path) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(flood, path)
    with pytest.raises(OSError, match="HTTP"):
        await ask(path, "POST", "/process", b"{}")
    server.close()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789*/,-LW#?MONJAN ", max_size=20))
def test_any_cron_text_is_understood_or_refused(value: str) -> None:
    moment = now()
    with suppress(BadRequest):
        assert next_run("cron", value, moment) > moment
