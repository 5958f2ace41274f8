"""Lines that wait: bounded, and fair between those who bring them."""

import threading
from collections import Counter

import pytest

from serai.telemetry.lines.entry import Entry, entry_of
from serai.telemetry.lines.queue import LineQueue
from serai.telemetry.lines.store import LineStore

from .written import START, line, texts


def entries(name: str, count: int, size: int = 100) -> list[Entry]:
    return [entry_of(line("x" * size, at, resource=name)) for at in range(count)]


def taken(queue: LineQueue, most: int = 10**9) -> list[Entry]:
    return queue.take(most, 10**12)


def test_a_flood_takes_no_room_from_others() -> None:
    queue = LineQueue(rate=1_000_000, most_bytes=200_000)
    queue.put(entries("calm", 50))
    for _ in range(100):
        queue.put(entries("loud", 1000))
        queue.put(entries("calm too", 1))
    found = taken(queue)
    by_name = Counter(each.key[2] for each in found)
    assert (by_name["calm"], by_name["calm too"]) == (50, 100)
    assert sum(each.size for each in found) <= 200_000 + 1000
    said = [each for each in found if "dropped" in each.text]
    assert [each.key[2] for each in said] == ["loud"]
    assert f"{queue.dropped:,} lines were dropped" in said[0].text
    assert by_name["loud"] - 1 + queue.dropped == 100_000
    assert (said[0].severity, said[0].origin[1]) == (13, "")
    assert taken(queue) == []


def test_a_resource_may_bring_so_many_a_second() -> None:
    passed = [0.0]
    queue = LineQueue(rate=100, clock=lambda: passed[0])
    queue.put(entries("loud", 1500))
    queue.put(entries("calm", 5))
    found = taken(queue)
    assert Counter(each.key[2] for each in found) == {"loud": 1001, "calm": 5}
    assert "500 lines were dropped" in found[1000].text
    passed[0] = 1.0
    queue.put(entries("loud", 150))
    assert len(taken(queue)) == 101
    passed[0] = 3600.0
    queue.put(entries("loud", 1500))
    assert len(taken(queue)) == 1001


def test_what_is_taken_is_shared() -> None:
    queue = LineQueue(rate=1_000_000)
    queue.put(entries("loud", 10_000))
    queue.put(entries("calm", 10))
    first = taken(queue, 200)
    assert Counter(each.key[2] for each in first) == {"loud": 100, "calm": 10}
    assert len(queue) == 9900
    some = queue.take(10_000, 5_000)
    assert 0 < sum(each.size for each in some) <= 5_000
    queue.put_back(some)
    assert [each.at_ns - START for each in taken(queue)] == list(range(100, 10_000))


def test_what_is_put_back_comes_first() -> None:
    queue = LineQueue(rate=1_000_000)
    queue.put(entries("a", 3))
    first = taken(queue)
    queue.put([entry_of(line("new", 99))])
    queue.put_back(first)
    assert [each.at_ns for each in taken(queue)][:3] == [each.at_ns for each in first]


def test_what_waits_of_a_workspace_can_be_forgotten() -> None:
    queue = LineQueue(rate=1_000_000)
    queue.put([*entries("a", 3), entry_of(line("other", workspace="v"))])
    queue.forget("w")
    assert [each.text for each in taken(queue)] == ["other"]


@pytest.mark.parametrize("size", [100, 10_000])
def test_it_never_waits(size: int) -> None:
    """Many threads at once, and what they could not bring is told to the line."""
    queue = LineQueue(rate=1_000_000, most_bytes=1_000_000)

    def bring(name: str) -> None:
        for _ in range(50):
            queue.put(entries(name, 100, size))

    threads = [threading.Thread(target=bring, args=(f"r{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = taken(queue)
    kept = [each for each in found if "dropped" not in each.text]
    assert len(kept) + queue.dropped == 20_000
    assert sum(each.size for each in kept) <= 1_000_000


async def test_a_flood_is_told_in_its_place(lines: LineStore) -> None:
    lines.queue = LineQueue(rate=10)
    lines.queue.put([entry_of(line(f"line {at}", at)) for at in range(150)])
    await lines.save()
    found = await texts(lines)
    assert found[:100] == [f"line {at}" for at in range(100)]
    assert len(found) == 101
    assert found[100].startswith("[serai] 50 lines were dropped here")
