"""The account page."""

from collections.abc import Callable

from sqlalchemy import Connection

from identity.conftest import World
from serai.identity import grants
from serai.identity.grants import Grant
from serai.kernel.clock import now
from serai.store.tables.oauth import oauth_grants
from serai.store.tables.sign_in import sign_ins

from .browser import Browser, is_at, said, shown
from .conftest import PASSWORD, Person, fresh_address, stored

NEW = {"password": "five words make a sentence", "again": "five words make a sentence"}


def let_in(world: World, person: Person, sign_in_id: object) -> Grant:
    """A grant that came from a session."""

    def write(conn: Connection) -> Grant:
        return grants.create(
            conn, now(), client_id="blaxel", user_id=person.id, sign_in_id=sign_in_id,
            scope="admin", workspace="main",
        )  # fmt: skip

    return world.write(write)


def alive(world: World, grant: Grant) -> bool:
    """Whether a grant was not revoked."""
    return stored(world, oauth_grants, "revoked_at", id=grant.id) == [None]


def test_a_new_password_ends_the_other_sessions_and_what_came_from_them(
    world: World, signed_in: Browser, person: Person, new_browser: Callable[..., Browser]
) -> None:
    [mine] = stored(world, sign_ins, "id", user_id=person.id)
    other = new_browser(fresh_address())
    other.sign_in(person.email, PASSWORD)
    [theirs] = set(stored(world, sign_ins, "id", user_id=person.id)) - {mine}
    kept, ended = let_in(world, person, mine), let_in(world, person, theirs)

    wrong = signed_in.submit("/account", "/account/password", current="nonsense", **NEW)
    assert "current password is wrong" in said(wrong)
    short = {"password": "short", "again": "short"}
    answer = signed_in.submit("/account", "/account/password", current=PASSWORD, **short)
    assert "too short" in said(answer)
    assert other.get("/account").status_code == 200

    answer = signed_in.submit("/account", "/account/password", current=PASSWORD, **NEW)
    is_at(answer, "/account?done=password")
    assert "signed out everywhere else" in said(signed_in.get("/account?done=password"))
    assert other.get("/account").status_code == 303
    assert (alive(world, kept), alive(world, ended)) == (True, False)
    assert shown(other.sign_in(person.email, PASSWORD), 400)
    is_at(other.sign_in(person.email, NEW["password"]), "/account")


def test_sessions_and_applications_are_listed_and_ended(
    world: World, signed_in: Browser, person: Person, new_browser: Callable[..., Browser]
) -> None:
    other = new_browser(fresh_address())
    other.http.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0"
    other.sign_in(person.email, PASSWORD)
    ids = stored(world, sign_ins, "id", user_id=person.id)
    first, second = let_in(world, person, ids[0]), let_in(world, person, ids[1])
    page = shown(signed_in.get("/account"))
    assert "Firefox on Linux" in page
    assert page.count("this browser") == 1
    assert page.count("Blaxel command line") >= 2

    form = signed_in.form("/account", "/account/grants/end")
    gone, kept = (first, second) if form["id"] == first.id else (second, first)
    is_at(signed_in.post("/account/grants/end", form), "/account?done=grant")
    assert (alive(world, gone), alive(world, kept)) == (False, True)
    is_at(signed_in.submit("/account", "/account/sessions/end"), "/account?done=session")
    assert other.get("/account").status_code == 303
    assert signed_in.get("/account").status_code == 200


def test_others_things_cannot_be_ended(
    world: World, signed_in: Browser, new_person: Callable[..., Person]
) -> None:
    stranger = new_person()
    grant = let_in(world, stranger, "x")
    fields = signed_in.form("/account", "/account/name") | {"id": grant.id}
    assert shown(signed_in.post("/account/grants/end", fields), 404)
    assert alive(world, grant)
    assert shown(signed_in.post("/account/sessions/end", fields), 404)


def test_signing_out_keeps_what_was_let_in(
    world: World, signed_in: Browser, person: Person
) -> None:
    [mine] = stored(world, sign_ins, "id", user_id=person.id)
    grant = let_in(world, person, mine)
    signed_in.submit("/account", "/logout")
    assert alive(world, grant)


def test_a_name(signed_in: Browser) -> None:
    name = {"given_name": "Ada", "family_name": "Łovelace"}
    is_at(signed_in.submit("/account", "/account/name", **name), "/account?done=name")
    page = shown(signed_in.get("/account?done=name"))
    assert 'value="Ada"' in page
    assert 'value="Łovelace"' in page
    assert "at most 63" in said(signed_in.submit("/account", "/account/name", given_name="x" * 64))


def test_sessions_do_not_last_for_ever(world: World, signed_in: Browser, person: Person) -> None:
    mine = sign_ins.c.user_id == person.id
    fresh = {"last_seen_at": "2999-01-01T00:00:00.000Z", "expires_at": "2999-01-01T00:00:00.000Z"}
    for column in ("last_seen_at", "expires_at"):
        assert signed_in.get("/account").status_code == 200
        past = {column: "2026-01-01T00:00:00.000Z"}
        world.write(
            lambda conn, past=past: conn.execute(sign_ins.update().where(mine).values(past))
        )
        assert signed_in.get("/account").status_code == 303
        world.write(lambda conn: conn.execute(sign_ins.update().where(mine).values(fresh)))


def test_forms_without_a_session_lead_to_signing_in(browser: Browser) -> None:
    token = browser.form("/login", "/login")["form_token"]
    for path in ("/account/password", "/account/grants/end", "/device"):
        is_at(browser.post(path, {"form_token": token}), "/login")
