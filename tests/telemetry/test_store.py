"""Rows of calls in the database, on both engines: kept once, bounded, pruned, never in the way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from postgres_server import NoPostgres, Postgres, postgres_server
from serai.kernel.clock import millis, now, rfc3339
from serai.metering.store import UsageStore
from serai.metering.times import moment_of
from serai.store.secrets import Vault
from serai.telemetry import records, requests
from serai.telemetry.keeper import RequestKeeper
from serai.telemetry.logs import HELD_BYTES, Kept, RequestLogs
from serai.telemetry.records import Wanted, first_number, moment_ms, newest, page, prune
from serai.telemetry.requests import RequestBuffer, Row
from serai.wire.telemetry import ModelRequestLog

DAY = 86_400_000
NOW = 1_790_000_000_000


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def usage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UsageStore]:
    url = None
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database()
    store = UsageStore(tmp_path, url)
    store.open()
    yield store
    store.close()


def row(number: int, workspace: str = "w", request_id: str = "r", status: int = 200) -> Row:
    names = ("acc", request_id, "m", "id-m", "", "openai", "gpt", "", "chat")
    return (workspace, number, *names, status, "", "", 10, number % 1000, 1, 2, 0, 0, True,
            False, 1, "", False, "key", "user", "{}")  # fmt: skip


def wanted(workspace: str = "w", **more: object) -> Wanted:
    return Wanted(account_id="acc", workspace=workspace, exact={}, **more)


async def only_m() -> frozenset[str]:
    """The models that there are."""
    return frozenset({"m"})


async def numbers(usage: UsageStore, **more: object) -> list[int]:
    rows, total = await usage.read(lambda conn: page(conn, wanted(**more), None, 1000))
    assert len(rows) == total
    return [each.number for each in rows]


async def test_rows_are_kept_once_and_found(usage: UsageStore) -> None:
    buffer = RequestBuffer(100)
    buffer.add([row(3), row(1), row(2), row(2, "other"), row(5, request_id="s", status=500)])
    assert await buffer.save(usage) == 5
    buffer.add([row(2), row(4)])
    assert await buffer.save(usage) == 2
    assert await buffer.save(usage) == 0
    assert await numbers(usage) == [5, 4, 3, 2, 1]
    assert await numbers(usage, statuses=(400, 599)) == [5]
    assert await numbers(usage, first=2, last=4) == [3, 2]
    assert await numbers(usage, workspace="other") == [2]
    found = await usage.read(lambda conn: newest(conn, wanted()))
    assert found is not None
    assert found.number == 5
    stranger = Wanted(account_id="another", workspace="w", exact={})
    assert await usage.read(lambda conn: newest(conn, stranger)) is None


async def test_a_total_is_counted_up_to_a_bound(
    usage: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "COUNTED_MOST", 3)
    await usage.write(lambda conn: requests.write_rows(conn, [row(n) for n in range(9)]))
    rows, total = await usage.read(lambda conn: page(conn, wanted(), 7, 2))
    assert ([each.number for each in rows], total) == ([6, 5], 3)


async def test_old_rows_go_in_steps_from_every_workspace(
    usage: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PRUNED_AT_ONCE", 4)
    rows = [row(number, workspace) for workspace in "abc" for number in range(1, 7)]
    await usage.write(lambda conn: requests.write_rows(conn, rows))
    steps = []
    while not steps or steps[-1] >= 4:
        steps.append(await usage.write(lambda conn: prune(conn, 5)))
    assert sum(steps) == 12
    for workspace in "abc":
        assert await numbers(usage, workspace=workspace) == [6, 5]


async def test_what_cannot_be_written_waits_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MAX_WAITING", 5)
    usage = UsageStore(tmp_path)
    usage.open()
    usage.submit(lambda conn: conn.exec_driver_sql("PRAGMA query_only = ON")).result()
    buffer = RequestBuffer(100)
    buffer.add([row(number) for number in range(1, 5)])
    with pytest.raises(Exception):  # noqa: B017
        await buffer.save(usage)
    buffer.add([row(number) for number in range(5, 9)])
    assert (len(buffer.waiting), buffer.lost) == (5, 3)
    usage.submit(lambda conn: conn.exec_driver_sql("PRAGMA query_only = OFF")).result()
    assert await buffer.save(usage) == 5
    assert await numbers(usage) == [8, 7, 6, 5, 4]
    usage.close()


async def test_a_row_that_cannot_be_stored_holds_up_no_others(usage: UsageStore) -> None:
    buffer = RequestBuffer(100)
    bad = list(row(2))
    bad[requests.model_requests.columns.keys().index("input_tokens")] = 2**70
    buffer.add([row(1), tuple(bad), row(3)])
    assert await buffer.save(usage) == 2
    assert (buffer.lost, buffer.waiting) == (1, [])
    assert await numbers(usage) == [3, 1]


def test_room_is_granted_at_the_rate_with_bursts() -> None:
    now = [0.0]
    buffer = RequestBuffer(10, clock=lambda: now[0])
    assert buffer.room(70) == 70
    assert (buffer.room(70), buffer.skipped) == (30, 40)
    now[0] = 1.0
    assert (buffer.room(5), buffer.room(20)) == (5, 5)
    now[0] = 1000.0
    assert buffer.room(500) == 100
    assert RequestBuffer(0).room(5) == 0


def test_numbers_keep_the_order_and_the_moment() -> None:
    buffer = RequestBuffer(1)
    given = [buffer.number(1_790_000_000.25) for _ in range(1000)]
    assert len(set(given)) == 1000
    assert {moment_ms(number) for number in given} == {1_790_000_000_250}
    assert buffer.number(1_790_000_000.2) < min(given)
    assert first_number(1_790_000_000_250) <= min(given) < first_number(1_790_000_000_251)
    assert max(given) < 2**63


def kept(number: int, request: bytes = b"{}", model: str = "m", days: int = 1) -> Kept:
    return Kept(workspace="w", resource_id=model, number=first_number(NOW) + number,
                request=request, answer=b'{"a":"x@y.zz"}', answer_length=14, streamed=False,
                content=True, days=days)  # fmt: skip


async def test_logs_are_sealed_to_their_call_and_end_with_time_and_model(usage: UsageStore) -> None:
    logs = RequestLogs(Vault(b"k" * 32), 3650)
    for number, model in ((1, "m"), (2, "gone"), (3, "m")):
        logs.add(kept(number, model=model, days=number))
    assert await logs.save(usage) == 3
    first = first_number(NOW)
    found = await usage.read(lambda conn: logs.find(conn, "w", first + 1))
    assert found is not None
    assert (found.answer, found.redactions) == ('{"a":"[email]"}', {"email": 1})
    assert await usage.read(lambda conn: logs.find(conn, "v", first + 1)) is None
    other = RequestLogs(Vault(b"l" * 32), 3650)
    with pytest.raises(Exception, match="cannot be decrypted"):
        await usage.read(lambda conn: other.find(conn, "w", first + 1))

    async def left() -> list[int]:
        found = [await usage.read(lambda c, n=n: logs.find(c, "w", first + n)) for n in (1, 2, 3)]
        return [number for number, each in enumerate(found, 1) if each is not None]

    await usage.write(lambda conn: records.prune_logs(conn, NOW + DAY))
    assert await left() == [2, 3]
    keeper = RequestKeeper(usage, only_m, 3650)
    gone = await usage.read(records.logged_models) - frozenset({"m"})
    await usage.write(lambda conn: records.forget_logs(conn, gone))
    assert await left() == [3]
    keeper.model_gone("m")
    async with asyncio.timeout(10):
        while await left():
            await asyncio.sleep(0.01)


async def test_what_nobody_can_read_holds_nothing_up(usage: UsageStore) -> None:
    logs = RequestLogs(Vault(b"k" * 32), 3650)
    deep = b'{"messages":' * 400 + b"[" * 400 + b"]" * 400 + b"}" * 400
    for number, request in enumerate([deep, b"\xff\x00", b"{broken", b"", b'"text"'], 1):
        logs.add(kept(number, request))
    written = await logs.save(usage)
    assert written == 5
    last = await usage.read(lambda conn: logs.find(conn, "w", first_number(NOW) + 5))
    assert last is not None
    assert last.request == '"text"'


def test_logs_that_wait_are_bounded_in_bytes() -> None:
    logs = RequestLogs(Vault(b"k" * 32), 3650)
    half = b"x" * (HELD_BYTES // 2)
    for number in range(4):
        logs.add(kept(number, half))
    assert logs.lost == 3


async def test_a_log_lasts_no_longer_than_the_row_of_its_call(usage: UsageStore) -> None:
    moment = millis(now())
    number = first_number(moment)
    logs = RequestLogs(Vault(b"k" * 32), 30)
    logs.add(msgspec.structs.replace(kept(1, days=365), number=number))
    await logs.save(usage)

    async def found() -> ModelRequestLog | None:
        return await usage.read(lambda conn: logs.find(conn, "w", number))

    kept_log = await found()
    assert kept_log is not None
    assert kept_log.ends_at == rfc3339(moment_of(moment + 30 * DAY))
    await RequestKeeper(usage, only_m, 30).tidy()
    assert await found() is not None
    await asyncio.sleep(0.01)
    await RequestKeeper(usage, only_m, 0).tidy()
    assert await found() is None
