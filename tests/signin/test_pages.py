"""What every page and every cookie of ours carries."""

from collections.abc import Callable

import pytest

from identity.conftest import World
from platform_server import Server

from .browser import Browser, shown
from .conftest import PASSWORD, Person

PAGES = ("/login", "/login/forgot", "/login/reset?token=x", "/setup?token=x", "/account", "/device")


@pytest.mark.parametrize("path", PAGES)
def test_headers_of_pages(browser: Browser, path: str) -> None:
    headers = browser.get(path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_pages_have_no_scripts_and_nothing_from_elsewhere(signed_in: Browser) -> None:
    for path in ("/login?again=1", "/login/forgot", "/account", "/account/second-factor"):
        page = shown(signed_in.get(path))
        assert "<script" not in page
        assert " on" not in page.replace("\n", " ").partition("<body")[0]
        assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
        assert 'style="' not in page


def test_the_stylesheet(browser: Browser) -> None:
    answer = browser.get("/assets/sign-in.css")
    assert "prefers-color-scheme: dark" in shown(answer)
    assert answer.headers["content-type"].startswith("text/css")


def test_what_people_type_is_shown_as_text(signed_in: Browser) -> None:
    nasty = "<img src=x onerror=alert(1)>\"'"
    answer = signed_in.submit("/account", "/account/name", given_name=nasty)
    assert answer.status_code == 303
    page = shown(signed_in.get("/account"))
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    wrong = signed_in.submit("/login?again=1", "/login", email='"><b>x', password="y")
    assert "<b>x" not in wrong.text


def test_cookies_on_plain_http(signed_in: Browser, world: World) -> None:
    answer = signed_in.get("/login?again=1")
    assert answer.status_code == 200
    jar = {cookie.name: cookie for cookie in signed_in.http.cookies.jar}
    prefix = f"serai-{world.server.port}-"
    assert jar.keys() == {prefix + name for name in ("session", "visit", "known")}
    for cookie in jar.values():
        assert cookie.path == "/"
        assert not cookie.domain_specified
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie._rest["SameSite"].lower() == "lax"  # type: ignore[attr-defined]


def test_cookies_on_https(
    new_server: Callable[..., Server], new_browser: Callable[..., Browser]
) -> None:
    server = new_server(SERAI_PUBLIC_URL="https://serai.example.com").start()
    line = new_browser(server=server).get("/login").headers["set-cookie"]
    name, *attributes = [part.strip().lower() for part in line.split(";")]
    assert name.startswith("__host-serai-visit=")
    assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(attributes)
    assert not any(one.startswith("domain") for one in attributes)


def test_sessions_over_the_api(
    world: World, signed_in: Browser, person: Person, new_browser: Callable[..., Browser]
) -> None:
    from serai.identity.accounts import store_key
    from serai.identity.keys import new_key

    key = new_key()
    world.write(lambda conn: store_key(conn, world.vault, person.id, "k", key))
    theirs = world.client(key)
    second = new_browser()
    second.sign_in(person.email, PASSWORD)
    listed = theirs.get("/v0/profile/sessions").json()
    assert {(one["method"], one["address"]) for one in listed} == {("password", "127.0.0.1")}
    assert len(listed) == 2
    newest = max(listed, key=lambda one: one["createdAt"])
    path = f"/v0/profile/sessions/{newest['id']}"
    assert world.admin.delete(path).status_code == 404
    assert theirs.delete(path).json() == newest
    assert theirs.delete(path).json()["error"] == "SESSION_NOT_FOUND"
    assert second.get("/account").status_code == 303
    assert signed_in.get("/account").status_code == 200
    assert len(theirs.get("/v0/profile/sessions").json()) == 1
