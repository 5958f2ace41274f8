"""Lines in the database, on both engines: in order, apart, cut, masked, found, and forgotten."""

import asyncio
import threading
from collections.abc import Iterable
from functools import partial

import msgspec
import pytest
from sqlalchemy import func, select, text

from serai.identity.principal import Principal
from serai.kernel.clock import now
from serai.kernel.errors import ServiceUnavailable
from serai.store.guard import OutOfReach
from serai.store.reach import within
from serai.store.searching import TookTooLong, at_most
from serai.store.tables.lines import log_hours, log_lines, log_origins, log_streams
from serai.telemetry.lines import query
from serai.telemetry.lines.entry import MOST_TEXT, SLACK, entry_of
from serai.telemetry.lines.keeper import LineKeeper, fair_level
from serai.telemetry.lines.store import LineStore

from .written import SECOND, START, line, page, texts

NS_A_DAY = 86_400 * SECOND


async def test_lines_come_back_in_order_each_with_a_time_of_its_own(lines: LineStore) -> None:
    lines.sink.write([line("late", 50), line("a", 7), line("b", 7), line("c", 7), line("early")])
    assert await lines.save() == 5
    lines.sink.write([line("d", 7), line("e", 8), line("f", 7), line("of another", resource="b")])
    assert await lines.save() == 4
    found = await page(lines, newest_first=False)
    numbers = [each.number - START for each in found.lines]
    assert [each.text for each in found.lines] == ["early", "a", "b", "c", "d", "f", "e", "late"]
    assert numbers == sorted({*numbers})
    assert (numbers[:4], numbers[-1]) == ([0, 7, 8, 9], 50)
    assert await texts(lines, key=("w", "agent", "b")) == ["of another"]
    assert await texts(lines, key=("w", "job", "a")) == []


async def test_what_a_line_comes_from_is_kept_and_found(lines: LineStore) -> None:
    run = {"revision": "r1", "instance": "i1", "stream": "stdout"}
    of_job = {"source": "task", "execution": "4f2c-1", "task": "0", "stream": "stderr"}
    lines.sink.write(
        [
            line("one", 1, **run),
            line("two", 2, **run | {"revision": "r2"}),
            line("three", 3, **of_job, severity="error"),
            line("four", 4, **of_job | {"execution": "4f2d-2", "task": "1"}),
            line("five", 5, source="build", build="b1"),
        ]
    )
    await lines.save()
    asked = {
        "one": {"exact": {"revision": "r1", "output": "stdout"}},
        "two": {"exact": {"revision": "r2", "instance": "i1"}},
        "three": {"execution": "4f2c"},
        "four": {"exact": {"task": "1"}},
        "five": {"sources": frozenset({"build", "trace"})},
    }
    for wanted, filters in asked.items():
        assert await texts(lines, **filters) == [wanted]
    assert await texts(lines, severities=frozenset({"ERROR", "FATAL"})) == ["three"]
    assert await texts(lines, first=START + 2, last=START + 4) == ["two", "three"]
    assert await texts(lines, execution="4f2%") == []
    assert (await page(lines, limit=2, offset=1)).total == 5


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("GRÖSSE", []),
        ("größe", ["Die GRÖßE zählt"]),
        ("zÄhLt", ["Die GRÖßE zählt"]),
        ("100%", ["used 100% of [it]"]),
        ("of [IT]", ["used 100% of [it]"]),
        ("ŭ[*?", ["Ŭ[*?]\\ and _"]),
        ("\\ and _", ["Ŭ[*?]\\ and _"]),
        ("日本", ["日本語"]),
        ("ἀρχὴ", ["ἈΡΧῊ ἥμισυ"]),
        ("x_y", []),
    ],
)
async def test_a_search_does_not_mind_case_nor_signs(
    lines: LineStore, wanted: str, found: list[str]
) -> None:
    every = ["Die GRÖßE zählt", "used 100% of [it]", "Ŭ[*?]\\ and _", "日本語", "ἈΡΧῊ ἥμισυ", "xzy"]
    lines.sink.write([line(each, at) for at, each in enumerate(every)])
    await lines.save()
    assert await texts(lines, search=wanted) == found


async def test_a_search_has_an_end(lines: LineStore) -> None:
    lines.sink.write([line(f"{at} {'x' * 200}", at) for at in range(3000)])
    await lines.save()

    def forever(conn: object) -> None:
        with at_most(conn, 0.2):  # type: ignore[arg-type]
            numbers = ", ".join(f"log_lines AS l{n}" for n in range(4))
            conn.execute(text(f"SELECT count(*) FROM {numbers} WHERE l0.text = l1.text || l2.text"))  # type: ignore[attr-defined]

    with pytest.raises(TookTooLong):
        await lines.search(forever)
    assert len(await texts(lines, limit=10)) == 10


async def test_long_and_odd_lines_do_no_harm(lines: LineStore) -> None:
    lines.sink.write([line("x" * 10_000_000, 1), line("a\0b\ud800c", 2), line("", 3)])
    assert len(lines.queue) == 3
    await lines.save()
    long, odd, empty = await texts(lines)
    assert long == "x" * MOST_TEXT + "… [cut: 10,000,000 characters in all]"
    assert (odd, empty) == ("a\ufffdb\ufffdc", "")


async def test_secrets_are_masked_before_lines_are_cut(lines: LineStore) -> None:
    lines.masks.known = lambda key: ["s3cret/value", "of\ntwo lines"] if key[2] == "a" else []
    lines.masks.put(("w", "agent", "a"), "build", ["build-token", "abc"])
    edge = "y" * (MOST_TEXT - 3) + "build-token" + "z" * SLACK
    said = ["is s3cret/value!", "url s3cret%2Fvalue", "two lines", "build-token", "abc", edge]
    lines.sink.write([line(each, at) for at, each in enumerate(said)])
    lines.sink.write([line("y" * (MOST_TEXT + SLACK - 3) + "build-token", 6)])
    lines.sink.write([line("s3cret/value", resource="b")])
    await lines.save()
    found = await texts(lines)
    assert found[:5] == ["is ***!", "url ***", "***", "***", "abc"]
    assert "build" not in found[5]
    assert "bui" not in found[6]
    assert await texts(lines, key=("w", "agent", "b")) == ["s3cret/value"]
    lines.masks.known = lambda _: ["new-secret"]
    lines.masks.changed(("w", "agent", "a"))
    lines.sink.write([line("s3cret/value new-secret", 7)])
    await lines.save()
    assert (await texts(lines))[-1] == "*** ***"


async def test_lines_wait_while_secrets_or_the_database_cannot_be_reached(lines: LineStore) -> None:
    def unknown(_: object) -> Iterable[str]:
        raise ServiceUnavailable("not now")

    lines.masks.known = unknown
    lines.sink.write([line("kept", 1)])
    with pytest.raises(ServiceUnavailable):
        await lines.save()
    assert len(lines.queue) == 1
    lines.masks.known = None
    lines.sink.write([line("later", 2)])
    assert await lines.save() == 2
    assert await texts(lines) == ["kept", "later"]


async def test_many_threads_hand_lines_over(lines: LineStore) -> None:
    def hand(name: str) -> None:
        for at in range(500):
            lines.sink.write([line(f"{name} {at}", at, resource=name)])

    threads = [threading.Thread(target=hand, args=(f"r{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    running = asyncio.create_task(lines.run())
    for thread in threads:
        await asyncio.to_thread(thread.join)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for n in range(4):
        key = ("w", "agent", f"r{n}")
        assert await texts(lines, key=key) == [f"r{n} {at}" for at in range(500)]


async def test_nobody_reads_lines_of_another_workspace(lines: LineStore) -> None:
    lines.sink.write([line("mine", workspace="mine"), line("theirs", workspace="theirs")])
    await lines.save()
    me = Principal(
        subject="me",
        email="me@example.com",
        account_id="acc",
        account_admin=False,
        workspaces={"mine": "admin"},
        credential_id="key",
    )
    with within(me):
        assert await texts(lines, key=("mine", "agent", "a")) == ["mine"]
        with pytest.raises(OutOfReach):
            await lines.search(lambda conn: query.find_streams(conn, "theirs", "agent", ["a"]))
        with pytest.raises(OutOfReach):
            await lines.search(lambda conn: conn.execute(select(log_lines)).all())


async def test_a_trace_is_found_in_all_resources(lines: LineStore) -> None:
    trace = "5b8efff798038103d269b633813fc60c"
    entries = [entry_of(line(f"of {name}", resource=name)) for name in ("a", "b", "c")]
    lines.queue.put([msgspec.structs.replace(each, trace_id=trace) for each in entries[:2]])
    lines.queue.put(entries[2:])
    await lines.save()
    find = partial(query.streams_of_trace, workspace="w", resource_type="agent", trace_id=trace)
    assert list(await lines.search(lambda conn: find(conn))) == ["a", "b"]
    assert await texts(lines, trace_id=trace) == ["of a"]


def keeper(store: LineStore, *workspaces: str, days: int = 14, most: int = 0) -> LineKeeper:
    async def known() -> frozenset[str]:
        return frozenset(workspaces)

    return LineKeeper(store, known, days, most)


async def rows(store: LineStore) -> list[int]:
    """How many lines, hours, streams and origins there are."""
    tables = (log_lines, log_hours, log_streams, log_origins)
    return [
        await store.search(lambda c, t=t: c.execute(select(func.count()).select_from(t)).scalar())
        for t in tables
    ]


async def test_old_lines_go_and_leave_nothing(lines: LineStore) -> None:
    age = int(now().timestamp()) * SECOND - START
    old, young = age - 20 * NS_A_DAY, age - NS_A_DAY
    lines.sink.write([line(f"old {at}", old + at) for at in range(25)])
    lines.sink.write([line("young", young), line("old alone", old, resource="b")])
    await lines.save()
    keep = keeper(lines, "w")
    await keep.tidy()
    assert await texts(lines) == ["young"]
    assert await rows(lines) == [1, 1, 1, 1]
    lines.sink.write([line("again", young + 1), line("b again", young, resource="b")])
    await lines.save()
    assert await texts(lines) == ["young", "again"]
    assert await texts(lines, key=("w", "agent", "b")) == ["b again"]


async def test_a_workspace_that_is_gone_takes_its_lines_along(lines: LineStore) -> None:
    at = int(now().timestamp()) * SECOND - START
    lines.sink.write([line("theirs", at), line("mine", at, workspace="v")])
    await lines.save()
    lines.sink.write([line("waits", at)])
    keep = keeper(lines, "v", "w")
    await keep.forget("w")
    assert await lines.save() == 0
    lines.sink.write([line("of a new one with the same name", at)])
    await lines.save()
    assert await texts(lines) == ["of a new one with the same name"]
    await keep.tidy()
    assert await texts(lines) == ["of a new one with the same name"]
    assert await texts(lines, key=("v", "agent", "a")) == ["mine"]
    assert await rows(lines) == [2, 2, 2, 2]
    await keeper(lines, "v").tidy()
    assert await rows(lines) == [1, 1, 1, 1]


async def test_who_prints_a_lot_takes_no_room_from_others(
    lines: LineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serai.telemetry.lines.keeper.AT_ONCE", 100)
    at = int(now().timestamp()) * SECOND - START - 7200 * SECOND
    step = 10 * SECOND
    loud = [line("x" * 136, at + n * step, resource="loud") for n in range(700)]
    lines.sink.write([*loud, *(line("y" * 136, at + n * step, resource="calm") for n in range(50))])
    await lines.save()
    await keeper(lines, "w", most=200 * 400).tidy()
    assert len(await texts(lines, key=("w", "agent", "calm"))) == 50
    left = await page(lines, key=("w", "agent", "loud"), newest_first=False)
    assert 300 <= left.total <= 335
    assert left.lines[-1].number == START + at + 699 * step
    sizes = select(func.sum(log_hours.c.size))
    assert await lines.search(lambda conn: conn.execute(sizes).scalar()) == (left.total + 50) * 200
    await keeper(lines, "w", most=200 * 400).tidy()
    assert (await page(lines, key=("w", "agent", "loud"))).total == left.total


def test_a_level_is_fair() -> None:
    assert fair_level([10, 100, 1000], 300) == 190
    assert fair_level([10, 10], 300) == 10
    assert fair_level([200, 200], 300) == 150
    assert fair_level([], 300) == 0


async def test_resources_with_the_newest_lines_come_first(lines: LineStore) -> None:
    lines.sink.write(
        [line("x", hour * 3600 * SECOND, resource=f"r{hour:02}") for hour in range(60)]
    )
    await lines.save()
    found = await lines.search(lambda conn: query.find_streams(conn, "w", "agent", []))
    assert list(found) == [f"r{n:02}" for n in range(59, 9, -1)]
