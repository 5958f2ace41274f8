"""Hashing passwords: what is accepted, and that it holds nobody up."""

import asyncio
import unicodedata
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from serai.identity.passwords import WAITING_MAX, Passwords, Stored, check_new
from serai.kernel.errors import BadRequest, ServiceUnavailable

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_of_several_users_with_an_address_the_right_one(passwords: Passwords) -> None:
    stored = [Stored("a", CHEAP.hash("one")), Stored("b", CHEAP.hash("two")), Stored("c", "broken")]
    match = await passwords.match(stored, "two")
    assert match is not None
    assert match.user_id == "b"
    assert match.renewed is not None
    again = await passwords.match([Stored("b", match.renewed)], "two")
    assert again is not None
    assert again.renewed is None, "today's costs need no renewal"
    assert await passwords.match(stored, "three") is None
    assert await passwords.match([], "one") is None


async def test_letters_are_the_same_however_they_are_typed(passwords: Passwords) -> None:
    composed = unicodedata.normalize("NFC", "Zürich und Genève")
    stored = [Stored("a", await passwords.hash(composed))]
    assert await passwords.match(stored, unicodedata.normalize("NFD", composed))
    assert not await passwords.match(stored, "Zurich und Geneve")


async def test_few_wait_and_the_loop_goes_on(passwords: Passwords) -> None:
    waiting = [asyncio.ensure_future(passwords.match([], "x")) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable) as refused:
        await passwords.match([], "x")
    assert refused.value.headers == {"Retry-After": "5"}
    ticks = 0
    while not waiting[3].done():
        await asyncio.sleep(0.001)
        ticks += 1
    assert ticks > 1
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@given(st.text(max_size=2000), st.emails())
def test_what_is_accepted_is_within_bounds(text: str, email: str) -> None:
    try:
        check_new(text, email)
    except BadRequest:
        return
    assert len(text) >= 12
    assert len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")) <= 1024
