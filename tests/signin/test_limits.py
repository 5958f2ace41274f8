"""Guessing is bounded, and nobody locks anybody else out."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection, update

from identity.conftest import World
from serai.identity import limits
from serai.kernel.clock import now
from serai.store.tables.governance import audit_entries
from serai.store.tables.sign_in import sign_in_failures

from .browser import Browser, is_at, said
from .conftest import PASSWORD, Person, fresh_address, stored


def guess(browser: Browser, email: str, times: int) -> list[int]:
    """Send wrong passwords; returns the statuses."""
    fields = browser.form("/login", "/login", email=email)
    return [
        browser.post("/login", fields | {"password": f"wrong number {n}"}).status_code
        for n in range(times)
    ]


def test_a_thousand_wrong_passwords_from_one_address(
    world: World, new_browser: Callable[..., Browser], person: Person
) -> None:
    known, address = new_browser(fresh_address()), fresh_address()
    is_at(known.sign_in(person.email, PASSWORD), "/account")
    known.submit("/account", "/logout")

    guesser = new_browser(address)
    statuses = guess(guesser, person.email, 1000)
    assert statuses[:5] == [400] * 5
    assert set(statuses[5:]) == {429}, "five guesses are checked, the others cost nothing"
    assert stored(world, audit_entries, "action", subject=person.id).count("refuse_password") == 5
    refused = guesser.sign_in(person.email, PASSWORD)
    assert refused.status_code == 429, "not even the right one: it would tell that it is"
    assert 0 < int(refused.headers["retry-after"]) <= 900
    assert "Too many wrong attempts" in said(refused)

    is_at(new_browser(fresh_address()).sign_in(person.email, PASSWORD), "/account")
    is_at(known.sign_in(person.email, PASSWORD), "/account")
    same_place = new_browser(address)
    for name, value in known.http.cookies.items():
        same_place.http.cookies.set(name, value, domain="127.0.0.1")
    same_place.http.cookies.delete(f"serai-{world.server.port}-session", domain="127.0.0.1")
    is_at(same_place.sign_in(person.email, PASSWORD), "/account")


def test_many_at_once_are_no_way_around(
    new_browser: Callable[..., Browser], person: Person
) -> None:
    browser, start = new_browser(fresh_address()), threading.Barrier(20)
    fields = browser.form("/login", "/login", email=person.email, password="wrong")

    def one(_: int) -> int:
        start.wait(timeout=30)
        return browser.post("/login", fields).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(one, range(20)))
    assert statuses == [400] * 5 + [429] * 15


def spend(world: World, budget: limits.Budget, times: int) -> None:
    """Use up part of a budget, as that many failures would."""

    def write(conn: Connection) -> None:
        for _ in range(times):
            limits.spend(conn, world.vault, [budget], now())

    world.write(write)


def test_one_address_cannot_try_many_names(
    world: World, new_browser: Callable[..., Browser]
) -> None:
    address = fresh_address()
    [budget] = [
        budget
        for budget in limits.for_password("anybody", address, None)
        if budget.key.startswith("address:")
    ]
    spend(world, budget, budget.failures - 2)
    browser = new_browser(address)
    statuses = [guess(browser, f"n{number}@example.com", 1) for number in range(4)]
    assert statuses == [[400], [400], [429], [429]]


def test_a_name_under_attack_from_everywhere(
    world: World, new_browser: Callable[..., Browser], person: Person
) -> None:
    known = new_browser(fresh_address())
    is_at(known.sign_in(person.email, PASSWORD), "/account")
    budgets = limits.for_password(person.email, "127.0.0.1", None)
    [name] = [budget for budget in budgets if budget.key.startswith("name:")]
    spend(world, name, limits.UNDER_ATTACK)
    network = fresh_address().rpartition(".")[0]
    assert guess(new_browser(f"{network}.1"), person.email, 2) == [400, 400]
    assert guess(new_browser(f"{network}.2"), person.email, 2) == [400, 429], "one budget per /24"
    other = new_browser(fresh_address())
    is_at(other.sign_in(person.email, PASSWORD), "/account")
    is_at(known.sign_in(person.email, PASSWORD), "/account")


def test_a_known_browser_has_a_bound_too(
    new_browser: Callable[..., Browser], person: Person
) -> None:
    browser = new_browser(fresh_address())
    browser.sign_in(person.email, PASSWORD)
    browser.submit("/account", "/logout")
    assert guess(browser, person.email, 12) == [400] * 10 + [429] * 2


def test_a_forged_browser_is_unknown(
    world: World, new_browser: Callable[..., Browser], person: Person
) -> None:
    browser = new_browser(fresh_address())
    name = f"serai-{world.server.port}-known"
    for forged in (f"{person.id}.AAAA.{'0' * 32}", person.id, "..", "~" * 50, "."):
        browser.http.cookies.set(name, forged, domain="127.0.0.1")
        guess(browser, person.email, 1)
    assert guess(browser, person.email, 1) == [429]


def test_the_budget_comes_back_with_time(
    world: World, new_browser: Callable[..., Browser], person: Person
) -> None:
    browser = new_browser(fresh_address())
    assert guess(browser, person.email, 6)[-1] == 429
    past = {"first_at": "2026-01-01T00:00:00.000Z"}
    world.write(lambda conn: conn.execute(update(sign_in_failures).values(past)))
    is_at(browser.sign_in(person.email, PASSWORD), "/account")


def test_a_right_password_forgives_ones_own_slips(
    new_browser: Callable[..., Browser], person: Person
) -> None:
    browser = new_browser(fresh_address())
    for _ in range(3):
        assert guess(browser, person.email, 2) == [400, 400]
        browser.http.cookies.clear()
        is_at(browser.sign_in(person.email, PASSWORD), "/account")
        browser.http.cookies.clear()


def test_what_was_typed_is_not_kept(world: World, new_browser: Callable[..., Browser]) -> None:
    guess(new_browser(fresh_address()), "my-password-in-the-wrong-field", 1)
    files = [*world.server.data_dir.glob("serai.db*"), world.server.log]
    assert b"my-password-in-the-wrong-field" not in b"".join(file.read_bytes() for file in files)


def test_a_proxy_on_this_machine_tells_the_address(
    new_browser: Callable[..., Browser], person: Person
) -> None:
    browser = new_browser(fresh_address())
    browser.http.headers["X-Forwarded-For"] = "203.0.113.9, 198.51.100.7"
    is_at(browser.sign_in(person.email, PASSWORD), "/account")
    page = browser.get("/account").text
    assert "198.51.100.7" in page
    assert "203.0.113.9" not in page
    browser.http.headers["X-Forwarded-For"] = "<script>"
    is_at(browser.sign_in(person.email, PASSWORD), "/account")
    assert "&lt;script" not in browser.get("/account").text


def test_networks() -> None:
    assert limits.nearby("203.0.113.9") == "203.0.113.9"
    assert limits.network("203.0.113.9") == "203.0.113.0"
    assert limits.nearby("2001:db8:1:2:3::4") == "2001:db8:1:2::"
    assert limits.network("2001:db8:1:2:3::4") == "2001:db8:1::"
    assert limits.nearby("::ffff:203.0.113.9") == "203.0.113.9"
    assert limits.nearby("fe80::1%eth0") == "fe80::"
    assert limits.nearby("") == "unknown"
