"""Signing in and out with a password."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from identity.conftest import World
from platform_server import KEY
from serai.store.tables.governance import audit_entries
from serai.store.tables.sign_in import passwords, sign_ins

from .browser import Browser, is_at, said, shown
from .conftest import PASSWORD, Person, fresh_address, stored


def test_in_and_out(world: World, browser: Browser, person: Person) -> None:
    is_at(browser.get("/account"), "/login?next=/account")
    is_at(browser.sign_in(person.email.upper(), PASSWORD), "/account")
    page = shown(browser.get("/account"))
    assert person.email in page
    is_at(browser.get("/login?next=/device"), "/device")
    secret = browser.session
    assert secret is not None
    is_at(browser.submit("/account", "/logout"), "/login")
    assert browser.session is None
    browser.http.cookies.set(f"serai-{world.server.port}-session", secret, domain="127.0.0.1")
    is_at(browser.get("/account"), "/login?next=/account")


def test_what_is_stored_opens_nothing(world: World, signed_in: Browser, person: Person) -> None:
    [hashed] = stored(world, passwords, "hash", user_id=person.id)
    assert str(hashed).startswith("$argon2id$v=19$m=65536,t=3,p=1$"), "renewed with today's costs"
    raw = b"".join(file.read_bytes() for file in world.server.data_dir.glob("serai.db*"))
    for secret in (PASSWORD, signed_in.session or "x"):
        assert secret.encode() not in raw + world.server.log.read_bytes()


def test_unknown_addresses_get_the_answer_of_wrong_passwords(
    new_browser: Callable[..., Browser], person: Person, new_person: Callable[..., Person]
) -> None:
    without = new_person(password=False)
    browser = new_browser(fresh_address())
    answers = [
        browser.sign_in(email, "not the password")
        for email in (person.email, without.email, "nobody@example.com")
    ]
    pages = {
        shown(answer, 400).replace(email, "").partition('name="next"')[2]
        for answer, email in zip(
            answers, (person.email, without.email, "nobody@example.com"), strict=True
        )
    }
    assert len(pages) == 1
    assert "do not belong together" in said(answers[0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"email": "", "password": "x"}, "Type your"),
        ({"email": "a@b", "password": ""}, "Type your"),
        ({"email": "a@b", "password": "x" * 1025}, "at most 1024 bytes"),
    ],
)
def test_forms_that_say_too_little_or_too_much(
    browser: Browser, fields: dict[str, str], words: str
) -> None:
    assert words in said(browser.submit("/login", "/login", **fields))


def test_a_session_from_before_signing_in_is_not_used(
    world: World, new_browser: Callable[..., Browser], person: Person
) -> None:
    victim, attacker = new_browser(), new_browser()
    is_at(attacker.sign_in(person.email, PASSWORD), "/account")
    planted = dict(attacker.http.cookies)
    for name, value in planted.items():
        victim.http.cookies.set(name, value, domain="127.0.0.1")
    before = victim.form("/account", "/logout")["form_token"]
    answer = victim.submit("/login?again=1", "/login", email=person.email, password=PASSWORD)
    is_at(answer, "/account")
    assert victim.session != planted[f"serai-{world.server.port}-session"]
    assert victim.form("/account", "/logout")["form_token"] != before
    is_at(attacker.get("/account"), "/login?next=/account")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_forms_of_other_sites_are_refused(
    signed_in: Browser, person: Person, headers: dict[str, str]
) -> None:
    fields = signed_in.form("/account", "/account/name", given_name="Eve")
    answer = signed_in.post("/account/name", fields, **headers)
    assert "another site" in said(answer)
    assert answer.status_code == 403
    assert "Eve" not in shown(signed_in.get("/account"))


def test_forms_need_the_token_of_this_browser(
    signed_in: Browser, new_browser: Callable[..., Browser], person: Person
) -> None:
    other = new_browser()
    stolen = other.form("/login", "/login")["form_token"]
    for token in ("", "x", stolen, "é"):
        fields = {"form_token": token, "given_name": "Eve"}
        assert "not valid any more" in said(signed_in.post("/account/name", fields))
    fields = {"form_token": stolen, "email": person.email, "password": PASSWORD}
    assert shown(new_browser().post("/login", fields), 403)
    assert "Eve" not in shown(signed_in.get("/account"))


def test_bodies_that_are_no_forms(signed_in: Browser) -> None:
    http = signed_in.http
    for kind, body in (
        ("application/json", b"{}"),
        ("text/plain", b"a=b"),
        ("application/x-www-form-urlencoded", b"a=%ff"),
        ("application/x-www-form-urlencoded", b"a=b&" * 50),
        ("application/x-www-form-urlencoded", b"a=" + b"b" * 40_000),
    ):
        answer = http.post("/account/name", content=body, headers={"Content-Type": kind})
        assert shown(answer, 400), body[:20]


def test_sign_ins_are_in_the_audit_log(
    world: World, new_browser: Callable[..., Browser], person: Person
) -> None:
    browser = new_browser(fresh_address())
    browser.sign_in(person.email, "wrong password")
    browser.sign_in(person.email, PASSWORD)
    browser.submit("/account", "/logout")
    entries = stored(world, audit_entries, "action", subject=person.id)
    assert entries == ["refuse_password", "sign_in", "sign_out"]
    admin = world.client(KEY, "main")
    listed = admin.get("/v0/audit", params={"actor": person.email}).json()["data"]
    assert [entry["action"] for entry in listed] == ["sign_out", "sign_in", "refuse_password"]
    query = select(sign_ins.c.id).where(sign_ins.c.user_id == person.id)
    assert world.write(lambda conn: conn.execute(query).first()) is None
