"""The first admin's password, and forgotten ones."""

import re
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import update

from identity.conftest import World
from platform_server import KEY, Server
from serai.store.tables.identity import api_keys

from .browser import Browser, is_at, said, shown

NEW = {"password": "five words make a sentence", "again": "five words make a sentence"}
ADA = "Ada@example.com"


def setup_link(server: Server) -> str:
    """The newest link of the start-up banner, without its origin."""
    return re.findall(r"Password   none yet; set one, once, at \S+?(/setup\?\S+)",
                      server.log.read_text())[-1]  # fmt: skip


def reset_link(server: Server, email: str) -> str:
    """What the operator's command prints, without its origin."""
    done = server.run("reset-password", email)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().removeprefix(server.url)


@pytest.fixture
def fresh(new_server: Callable[..., Server]) -> Server:
    """A server that nobody has set up."""
    return new_server().start()


def test_the_link_of_the_banner_works_once(
    fresh: Server, new_browser: Callable[..., Browser]
) -> None:
    link, browser = setup_link(fresh), new_browser(server=fresh)
    is_at(browser.submit(link, "/setup", email=ADA, **NEW), "/account?done=welcome")
    page = shown(browser.get("/account?done=welcome"))
    assert "ada@example.com" in page
    assert "account admin" in page
    late = new_browser(server=fresh)
    assert "set up already" in said(late.get(link))
    assert late.get(link).status_code == 409
    is_at(late.sign_in("ada@example.com", NEW["password"]), "/account")
    fresh.stop()
    before = fresh.log.read_text()
    fresh.start()
    banner = fresh.log.read_text().removeprefix(before)
    assert "Serai is ready" in banner
    assert "/setup" not in banner
    with fresh.client_for(KEY) as api:
        profile = api.get("/v0/profile").json()
        assert profile["email"] == "ada@example.com", "the same admin, under their own address"
        assert len(api.get("/v0/accounts").json()) == 1


def test_without_a_proof_nobody_sets_up(fresh: Server, new_browser: Callable[..., Browser]) -> None:
    browser = new_browser(server=fresh)
    with fresh.client_for(KEY) as api:
        limited = api.post("/v0/profile/api_keys", json={}).json()
        machine = api.post("/v0/service_accounts", json={"name": "m", "role": "admin"}).json()
        path = f"/v0/service_accounts/{machine['client_id']}/api_keys"
        robot = api.post(path, json={}).json()["apiKey"]
    narrowed = update(api_keys).where(api_keys.c.id == limited["id"]).values(scope="agents:list")
    world = World(fresh)
    world.write(lambda conn: conn.execute(narrowed))
    world.close()
    for key in ("", "wrong", limited["apiKey"], robot):
        answer = browser.submit("/setup", "/setup", email=ADA, api_key=key, **NEW)
        assert answer.status_code in {401, 403}, key
    answer = browser.submit("/setup?token=wrong", "/setup", email=ADA, **NEW)
    assert shown(answer, 403)
    assert browser.session is None
    is_at(
        browser.submit("/setup", "/setup", email=ADA, api_key=KEY, **NEW), "/account?done=welcome"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"email": "nobody"}, "not an e-mail address"),
        ({"password": "short", "again": "short"}, "at least 12"),
        ({"again": "another sentence"}, "not the same"),
        ({"password": "aaaaaaaaaaaaaaaa", "again": "aaaaaaaaaaaaaaaa"}, "easy to guess"),
        ({"password": "Password1234!", "again": "Password1234!"}, "easy to guess"),
        ({"password": "ada@example.com", "again": "ada@example.com"}, "easy to guess"),
        ({"password": "345678901234", "again": "345678901234"}, "easy to guess"),
        ({"password": "ü" * 600 + "abcdefgh", "again": ""}, "at most 1024 bytes"),
    ],
)
def test_mistakes_are_told_and_the_link_stays_good(
    shared: Server, new_browser: Callable[..., Browser], fields: dict[str, str], words: str
) -> None:
    browser = new_browser(server=shared, address="127.7.7.7")
    typed = {"email": ADA} | NEW | fields
    answer = browser.submit(setup_link(shared), "/setup", **typed)
    assert words in said(answer)
    assert answer.status_code == 400
    assert 'name="proof"' in answer.text


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> object:
    server = Server(tmp_path_factory.mktemp("setup") / "data").start()
    yield server
    server.stop()


def test_a_new_password_by_the_operators_link(
    fresh: Server, new_browser: Callable[..., Browser]
) -> None:
    browser = new_browser(server=fresh)
    assert "/setup?token=" in reset_link(fresh, "admin@localhost"), "made again by the command"
    browser.submit(reset_link(fresh, "admin@localhost"), "/setup", email=ADA, **NEW)
    assert browser.get("/account").status_code == 200

    old, link = reset_link(fresh, ADA), reset_link(fresh, ADA)
    forgetful = new_browser(server=fresh)
    assert "too old" in said(forgetful.get(old))
    other = {"password": "quite another sentence", "again": "quite another sentence"}
    is_at(forgetful.submit(link, "/login/reset", **other), "/account?done=password")
    assert browser.get("/account").status_code == 303, "whoever was signed in is not any more"
    assert "too old" in said(forgetful.get(link))
    assert shown(browser.sign_in(ADA, NEW["password"]), 400)

    fresh.stop()
    link = reset_link(fresh, ADA)
    fresh.start()
    assert shown(forgetful.get(link))
    unknown = fresh.run("reset-password", "nobody@example.com")
    assert (unknown.returncode, "no user" in unknown.stderr) == (1, True)


def test_a_crash_leaves_nothing_half_done(
    fresh: Server, new_browser: Callable[..., Browser]
) -> None:
    link, browser = setup_link(fresh), new_browser(server=fresh)
    fields = browser.form(link, "/setup", email=ADA, **NEW)
    fresh.kill()
    fresh.start()
    # The form is bound to the browser and not to the process; the banner has a newer link now.
    assert shown(browser.post("/setup", fields), 403)
    is_at(browser.submit(setup_link(fresh), "/setup", email=ADA, **NEW), "/account?done=welcome")
    fresh.kill()
    fresh.start()
    assert shown(browser.get("/account"))
    link = reset_link(fresh, ADA)
    page = browser.get(link)
    fresh.kill()
    fresh.start()
    is_at(browser.submit(page, "/login/reset", **NEW), "/account?done=password")


def test_forgotten_without_mail(fresh: Server, new_browser: Callable[..., Browser]) -> None:
    page = shown(new_browser(server=fresh).get("/login/forgot"))
    assert "serai reset-password" in page


def test_no_directory_no_link(new_server: Callable[..., Server]) -> None:
    done = new_server().run("reset-password", "a@b")
    assert done.returncode == 1
    assert "there is no Serai" in done.stderr


def test_links_are_not_logged(fresh: Server, new_browser: Callable[..., Browser]) -> None:
    token = httpx.URL(setup_link(fresh)).params["token"]
    new_browser(server=fresh).get(f"/setup?token={token}")
    fresh.logged(path="/setup")
    assert fresh.log.read_text().count(token) == 1, "in the banner only"
    assert token.encode() not in b"".join(
        file.read_bytes() for file in fresh.data_dir.glob("serai.db*")
    )
