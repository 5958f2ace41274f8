"""Reading on from page to page gives every line once, in order, whatever is filtered by."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postgres_server import Postgres
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import BadRequest
from serai.kernel.lines import LogLine
from serai.telemetry.lines.asking import parse
from serai.telemetry.lines.reading import LineReader, Place
from serai.telemetry.lines.store import LineStore

from .written import line

PLACE = Place("acc", "w")
WORDS = st.sampled_from(["alpha", "Beta", "gamma delta", "größe", "100%", ""])
LINES = st.lists(
    st.builds(
        line,
        WORDS,
        st.integers(0, 12).map(lambda n: n * 1000),
        severity=st.sampled_from(["debug", "info", "warning", "error"]),
        revision=st.sampled_from(["", "r1", "r2"]),
        execution=st.sampled_from(["", "e1-x", "e2-x"]),
        source=st.sampled_from(["build", "run", "task"]),
    ),
    max_size=40,
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "search": st.sampled_from(["A", "größe", "TA", "%", "zzz"]),
        "severity": st.sampled_from(["ERROR", "INFO,WARNING", "all"]),
        "revision": st.sampled_from(["r1", "r3"]),
        "executionId": st.sampled_from(["e1", "e"]),
        "type": st.sampled_from(["build", "run,task", "all"]),
        "order": st.sampled_from(["asc", "desc"]),
    },
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LineReader]:
    url = None
    if request.param == "postgresql":
        running: Postgres = request.getfixturevalue("postgres")
        url = running.new_database()
    folder: Path = tmp_path_factory.mktemp("paging")
    store = LineStore(folder, url, rate=1_000_000)
    store.open()
    yield LineReader(store, store, CursorCodec(b"key"))
    store.close()


def asked(**params: Any) -> Any:
    """What the parameters of a request ask for."""
    given = {"resourceType": "agents", "start": "2020-01-01", "end": "2199-01-01"} | params
    request: Any = SimpleNamespace(query_params={name: str(v) for name, v in given.items()})
    return parse(request)


async def every_page(reader: LineReader, name: str, size: int, **params: Any) -> list[Any]:
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        question = asked(workloadIds=name, limit=size, **params, **cursor)
        answer = (await reader.answer(PLACE, question))[name]
        assert len(answer.logs) <= size
        assert answer.next_cursor is None or len(answer.logs) == size
        found += answer.logs
        if answer.next_cursor is None:
            assert answer.total_count == len(found)
            return found
        cursor = {"cursor": answer.next_cursor}


def expected(every: list[LogLine], params: dict[str, str]) -> list[str]:
    def fits(one: LogLine) -> bool:
        severities = params.get("severity", "all").lower().split(",")
        return (
            params.get("search", "").lower() in one.text.lower()
            and (severities == ["all"] or one.severity in severities)
            and params.get("revision", one.revision) == one.revision
            and one.execution.startswith(params.get("executionId", ""))
            and (params.get("type", "all") == "all" or one.source in params["type"].split(","))
        )

    ordered = sorted(every, key=lambda one: one.at_ns)  # stable, as the store is
    texts = [one.text for one in ordered if fits(one)]
    return texts if params.get("order") == "asc" else texts[::-1]


COUNT = iter(range(10**9))


@settings(max_examples=60, deadline=None)
@given(LINES, FILTERS, st.integers(1, 7))
def test_pages_give_every_line_once(
    reader: LineReader, every: list[LogLine], params: dict[str, str], size: int
) -> None:
    name = f"a{next(COUNT)}"
    every = [msgspec.structs.replace(one, resource=name) for one in every]

    async def check() -> None:
        half = len(every) // 2
        for some in (every[:half], every[half:]):
            reader.store.sink.write(some)
            await reader.store.save()
        found = await every_page(reader, name, size, **params)
        stamps = [one.timestamp for one in found]
        assert len(stamps) == len({*stamps})
        assert stamps == sorted(stamps, reverse=params.get("order") != "asc")
        assert sorted(one.message for one in found) == sorted(expected(every, params))
        at_once = (await reader.answer(PLACE, asked(workloadIds=name, limit=1000, **params)))[name]
        assert at_once.logs == found
        rest = asked(workloadIds=name, limit=1000, offset=min(3, len(found)), **params)
        assert (await reader.answer(PLACE, rest))[name].logs == found[3:]

    asyncio.run(check())


async def test_a_cursor_is_for_its_question_alone(reader: LineReader) -> None:
    reader.store.sink.write([line(f"n{at}", at, resource="cursor") for at in range(5)])
    await reader.store.save()
    first = (await reader.answer(PLACE, asked(workloadIds="cursor", limit=2)))["cursor"]
    for other in ({"search": "n"}, {"order": "asc"}, {"start": "2021-01-01"}):
        question = asked(workloadIds="cursor", cursor=first.next_cursor, **other)
        with pytest.raises(BadRequest, match="cursor"):
            await reader.answer(PLACE, question)
    elsewhere = asked(workloadIds="cursor", cursor=first.next_cursor)
    with pytest.raises(BadRequest, match="cursor"):
        await reader.answer(Place("acc", "v"), elsewhere)
    again = (await reader.answer(PLACE, elsewhere))["cursor"]
    assert [one.message for one in again.logs] == ["n2", "n1", "n0"]


async def test_lines_that_come_meanwhile_are_not_read_twice(reader: LineReader) -> None:
    reader.store.sink.write([line(f"n{at}", at, resource="meanwhile") for at in range(4)])
    await reader.store.save()
    first = (await reader.answer(PLACE, asked(workloadIds="meanwhile", limit=2)))["meanwhile"]
    reader.store.sink.write([line("new", 100, resource="meanwhile")])
    await reader.store.save()
    question = asked(workloadIds="meanwhile", limit=2, cursor=first.next_cursor)
    rest = (await reader.answer(PLACE, question))["meanwhile"]
    assert [one.message for one in (*first.logs, *rest.logs)] == ["n3", "n2", "n1", "n0"]
    assert rest.total_count == 4
