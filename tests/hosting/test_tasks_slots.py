"""Places for boxes: shared evenly, given in turn, and never lost."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from serai.hosting.tasks_slots import Slots


async def test_who_waits_longest_is_next() -> None:
    slots = Slots(1)
    await slots.take("a")
    order: list[str] = []

    async def wait(name: str) -> None:
        await slots.take(name)
        order.append(name)

    waiters = [asyncio.create_task(wait(name)) for name in ("b", "c")]
    await asyncio.sleep(0)
    assert slots.should_yield("a") is False, "one place each is a fair share"
    slots.give_back("a")
    await asyncio.wait(waiters[:1])
    slots.give_back("b")
    await asyncio.wait(waiters)
    assert order == ["b", "c"]


async def test_who_has_more_than_a_share_yields() -> None:
    slots = Slots(4)
    for _ in range(4):
        await slots.take("greedy")
    assert not slots.should_yield("greedy"), "nobody else waits"
    waiter = asyncio.create_task(slots.take("late"))
    await asyncio.sleep(0)
    assert slots.should_yield("greedy")
    slots.give_back("greedy")
    await waiter
    assert not slots.should_yield("greedy")


async def test_boxes_of_before_count_beyond_the_limit() -> None:
    slots = Slots(1)
    slots.occupy("a")
    slots.occupy("b")
    waiter = asyncio.create_task(slots.take("c"))
    slots.give_back("a")
    await asyncio.sleep(0)
    assert not waiter.done()
    slots.give_back("b")
    await waiter
    assert slots.used == 1


STEPS = st.lists(st.tuples(st.sampled_from(["take", "give", "cut"]), st.integers(0, 3)))


@settings(deadline=None)
@given(STEPS, st.integers(1, 3))
def test_no_place_is_lost_or_given_twice(steps: list[tuple[str, int]], most: int) -> None:
    """Whoever takes, gives back, or is cut off while waiting, in any order."""

    async def play() -> None:
        slots = Slots(most)
        held: list[str] = []
        waiting: list[tuple[str, asyncio.Task[None]]] = []

        async def settle() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for pair in list(waiting):
                if pair[1].done():
                    waiting.remove(pair)
                    held.append(pair[0])

        for step, number in steps:
            name = f"e{number}"
            if step == "take":
                waiting.append((name, asyncio.create_task(slots.take(name))))
            elif step == "give" and held:
                slots.give_back(held.pop(number % len(held)))
            elif step == "cut" and waiting:
                _, task = waiting.pop(number % len(waiting))
                task.cancel()
            await settle()
            assert slots.used == len(held) <= most
            assert not waiting or len(held) == most
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    asyncio.run(play())
