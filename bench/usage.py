"""Usage: how fast it is recorded, and how fast a year of it is answered."""

import json
import random
import sqlite3
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from bench.platform import KEY, Platform
from bench.report import Row
from serai.metering.dimensions import DIMENSIONS, SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.records import record
from serai.metering.store import FILE, UsageStore
from serai.metering.times import HOUR, month_of
from serai.metering.verification import verify

RESOURCES = 4_000
WORKSPACES = 20
DAYS = 365
ACTIVE_HOURS = 6
"""Of each day, in which a resource runs."""

EVENTS_AN_HOUR = 12
"""Of a running resource; 4,000 x 365 x 6 x 12 are 105 million events a year."""

MEASURED = 200_000
BATCH = 20_000
DUPLICATES = 0.05
GB = 1024


def run(rounds: int) -> list[Row]:
    """Record events, then write the year and ask about it, through a real server."""
    with tempfile.TemporaryDirectory(prefix="serai-bench-") as name:
        rows = [_ingest(Path(name))]
        rows += _answers(Path(name), rounds)
    return rows


def series(number: int, account: str) -> Series:
    """One resource of the generator in one dimension: mostly sandboxes, some of each other kind."""
    names = list(DIMENSIONS)
    dimension = SANDBOX_RUNTIME if number % 2 else names[number // 2 % len(names)]
    return Series(
        account_id=account,
        workspace=f"team-{number % WORKSPACES:02}",
        resource_type=DIMENSIONS[dimension].resource_type,
        resource_name=f"resource-{number:04}",
        resource_id=f"id{number:014}",
        dimension=dimension,
    )


def events_of(number: int, hour: int, account: str) -> Iterator[UsageEvent]:
    """What a resource used in an hour: a tick of five minutes each."""
    mine, length = series(number, account), HOUR // EVENTS_AN_HOUR
    for start in range(hour * HOUR, (hour + 1) * HOUR, length):
        id_ = f"{mine.resource_id}/{mine.dimension}/{start}"
        yield UsageEvent(id=id_, series=mine, start=start, end=start + length, quantity=GB * length)


def _ingest(folder: Path) -> Row:
    """Events per second of processor time, as they come: by time, not quite, and 5 % repeated."""
    hours = range(_first_hour(), _first_hour() + MEASURED // EVENTS_AN_HOUR // RESOURCES)
    events = [
        event
        for hour in hours
        for number in range(RESOURCES)
        for event in events_of(number, hour, "acc")
    ]
    told = _jumbled(sorted(events, key=lambda event: event.start))
    folder = folder / "ingest"
    folder.mkdir()
    store = UsageStore(folder)
    store.open()
    begin = time.process_time()
    for start in range(0, len(told), BATCH):
        batch = told[start : start + BATCH]
        store.submit(lambda conn, batch=batch: record(conn, batch)).result()  # type: ignore[misc]
    rate = len(told) / (time.process_time() - begin)
    found = store.read_now(lambda conn: verify(conn, hours[0] * HOUR, hours[-1] * HOUR + HOUR))
    store.close()
    if found.differences or _summed(folder / FILE) != sum(event.quantity for event in events):
        raise RuntimeError("the sums are wrong")
    name = "Events recorded per second of one core, 5 % repeated"
    return Row(name, rate, "/s", None, "50,000", rate >= 50_000)


def _jumbled(events: list[UsageEvent]) -> list[UsageEvent]:
    """Each up to a batch late, and some once more, up to two batches late."""
    chance = random.Random(1)
    placed = [(place + chance.random() * BATCH, event) for place, event in enumerate(events)]
    again = chance.sample(range(len(events)), int(len(events) * DUPLICATES))
    placed += [(place + chance.random() * 2 * BATCH, events[place]) for place in again]
    return [event for _, event in sorted(placed, key=lambda both: both[0])]


def _summed(path: Path) -> int:
    conn = sqlite3.connect(path)
    query = "SELECT sum(quantity) FROM usage_hours JOIN usage_series ON id = series_id"
    (total,) = conn.execute(f"{query} WHERE NOT total").fetchone()
    conn.close()
    return int(total)


def _answers(folder: Path, rounds: int) -> list[Row]:
    """A year of events in the server's usage store, and two questions about it."""
    platform = Platform(folder / "year")
    platform.start()
    account = _asked(platform, "/v0/accounts")[0]["id"]
    platform.stop()
    begin = time.perf_counter()
    count = write_year(folder / "year" / FILE, account, DAYS)
    seconds = time.perf_counter() - begin
    print(f"\n  {count:,} events of a year as sums in {seconds:.0f} s", end="", flush=True)
    rows = _questions(platform, rounds, "a year")
    count = write_year(folder / "year" / FILE, account, 31)
    return rows + _questions(platform, rounds, f"{count // 10**6} million events")[:1]


def _questions(platform: Platform, rounds: int, stored: str) -> list[Row]:
    platform.start()
    try:
        month = _median(platform, rounds, 30, "daily", "billing_dimension")
        year = _median(platform, rounds, 364, "weekly", "resource_uuid")
    finally:
        platform.stop()
    return [
        Row(f"30 days daily by dimension, of {stored}", month, "ms", None, "20 ms", month <= 20),
        Row(f"A year weekly, 100 resources, of {stored}", year, "ms", None, "100 ms", year <= 100),
    ]


def write_year(path: Path, account: str, days: int) -> int:
    """Write what recording the year's events leaves: series, hours and days, not the events.

    Single events are kept for a few days only, and answers are made from the sums. Returns how
    many events the sums are of.
    """
    first_day = _first_hour() // 24 + DAYS - days
    quantity = sum(event.quantity for event in events_of(0, 0, account))
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("BEGIN")
    for table in ("usage_events", "usage_hours", "usage_days", "usage_series"):
        conn.execute(f"DELETE FROM {table}")
    totals: dict[tuple[int, int], int] = {}
    for number in range(RESOURCES):
        _write_series(conn, number + 1, series(number, account), first_day, days)
        total = RESOURCES + 1 + number % WORKSPACES + _dimension_of(number) * WORKSPACES
        hours = [
            (day * 24 + (number * 5 + day) % (24 - ACTIVE_HOURS) + more)
            for day in range(first_day, first_day + days)
            for more in range(ACTIVE_HOURS)
        ]
        for hour in hours:
            totals[total, hour] = totals.get((total, hour), 0) + quantity
        _write_hours(conn, [(number + 1, hour, quantity) for hour in hours])
    for id_ in sorted({id_ for id_, _ in totals}):
        place, dimension = (id_ - RESOURCES - 1) % WORKSPACES, (id_ - RESOURCES - 1) // WORKSPACES
        member = next(
            n for n in range(RESOURCES) if n % WORKSPACES == place and _dimension_of(n) == dimension
        )
        total_series = msgspec.structs.replace(
            series(member, account), resource_name="", resource_id=""
        )
        _write_series(conn, id_, total_series, first_day, days)
    _write_hours(conn, [(id_, hour, amount) for (id_, hour), amount in totals.items()])
    conn.execute("COMMIT")
    conn.execute("ANALYZE")
    conn.close()
    return RESOURCES * days * ACTIVE_HOURS * EVENTS_AN_HOUR


def _dimension_of(number: int) -> int:
    return list(DIMENSIONS).index(series(number, "").dimension)


def _write_series(
    conn: sqlite3.Connection, id_: int, one: Series, first_day: int, days: int
) -> None:
    values = msgspec.structs.asdict(one)
    key = msgspec.json.encode(msgspec.structs.astuple(one)).decode()
    values |= {"id": id_, "key": key, "total": int(not one.resource_id)}
    values |= {"first_hour": first_day * 24, "last_hour": (first_day + days) * 24 - 1}
    marks = ", ".join(f":{name}" for name in values)
    conn.execute(f"INSERT INTO usage_series ({', '.join(values)}) VALUES ({marks})", values)


def _write_hours(conn: sqlite3.Connection, rows: list[tuple[int, int, int]]) -> None:
    days: dict[tuple[int, int], int] = {}
    for id_, hour, quantity in rows:
        days[id_, hour // 24] = days.get((id_, hour // 24), 0) + quantity
    conn.execute("PRAGMA defer_foreign_keys = ON")
    conn.executemany("INSERT INTO usage_hours VALUES (?, ?, ?)", rows)
    by_day = [(id_, day, month_of(day), amount) for (id_, day), amount in days.items()]
    conn.executemany("INSERT INTO usage_days VALUES (?, ?, ?, ?)", by_day)


def _first_hour() -> int:
    """The first hour of the year that ended this midnight."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((midnight - timedelta(days=DAYS)).timestamp()) // 3600


def _median(platform: Platform, rounds: int, days: int, resolution: str, group_by: str) -> float:
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    account = _asked(platform, "/v0/accounts")[0]["id"]
    query = {
        "startTime": f"{end - timedelta(days=days):%FT%TZ}",
        "endTime": f"{end:%FT%TZ}",
        "resolution": resolution,
        "groupBy": group_by,
    }
    path = f"/v0/accounts/{account}/metrics?{urllib.parse.urlencode(query)}"
    _asked(platform, path)
    times = []
    for _ in range(max(5, rounds)):
        begin = time.perf_counter()
        answer = _asked(platform, path)
        times.append(time.perf_counter() - begin)
        if not answer["data"] or answer["summary"]["totalCost"] < 0:
            raise RuntimeError("nothing was found")
    return statistics.median(times) * 1000


def _asked(platform: Platform, path: str) -> Any:
    headers = {"Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(platform.url + path, None, headers)) as got:
        return json.loads(got.read())
