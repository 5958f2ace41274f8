"""Devices and applications that ask to act for somebody."""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.conftest import World

from .browser import Browser, is_at, said, shown
from .conftest import PASSWORD, Person

BACK = "http://127.0.0.1:9/callback"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
)


def ask_device(
    world: World,
    program: str = "bl/<b>1.0</b>",
    client_id: str = "blaxel",
    scope: str = "offline_access",
) -> dict[str, Any]:
    """What a device does first."""
    answer = httpx.post(
        f"{world.server.url}/v0/login/device",
        data={"client_id": client_id, "scope": scope},
        headers={"User-Agent": program},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def poll(world: World, device: dict[str, Any]) -> httpx.Response:
    """What it does then."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": device["device_code"],
        "client_id": "blaxel",
    }
    return httpx.post(f"{world.server.url}/v0/oauth/token", data=form, trust_env=False)


def profile(world: World, token: str, workspace: str | None = None) -> httpx.Response:
    """Who a token says one is."""
    headers = {"Authorization": f"Bearer {token}"}
    if workspace:
        headers["X-Blaxel-Workspace"] = workspace
    return httpx.get(f"{world.server.url}/v0/profile", headers=headers, trust_env=False)


def test_a_device_is_let_in(world: World, browser: Browser, person: Person) -> None:
    device = ask_device(world)
    link = device["verification_uri_complete"].removeprefix(world.server.url)
    to_login = browser.get(link)
    assert to_login.headers["location"].startswith("/login?next=/device")
    page = browser.get(to_login.headers["location"])
    is_at(browser.submit(page, "/login", email=person.email, password=PASSWORD), link)
    asked = browser.get(link)
    text = shown(asked)
    for part in (device["user_code"], "127.0.0.1", "bl/&lt;b&gt;1.0", "Did you just start this"):
        assert part in text
    assert poll(world, device).json()["error"] == "authorization_pending"
    done = browser.submit(asked, "/device", answer="approve")
    assert "The device is connected" in shown(done)
    tokens = poll(world, device).json()
    assert profile(world, tokens["access_token"]).json()["sub"] == person.id
    again = browser.submit(asked, "/device", answer="approve")
    assert "No device waits" in said(again)
    browser.submit("/account", "/account/grants/end")
    assert profile(world, tokens["access_token"]).status_code == 401


def test_a_device_is_denied(world: World, signed_in: Browser) -> None:
    device = ask_device(world)
    asked = signed_in.submit("/device", "/device", user_code=device["user_code"].lower())
    assert "was denied" in shown(signed_in.submit(asked, "/device", answer="deny"))
    assert poll(world, device).json()["error"] == "access_denied"


def test_applications_of_other_accounts_are_not_let_in(world: World, signed_in: Browser) -> None:
    theirs, _ = world.new_account()
    body = {"name": "Theirs", "redirect_uris": [BACK], "scopes": ["openid"], "confidential": False}
    application = theirs.post("/v0/oauth/clients", json=body).json()["client_id"]
    answer = signed_in.get(authorize(client_id=application, scope="openid"))
    assert "another account" in said(answer)
    device = ask_device(world, client_id=application, scope="openid")
    answer = signed_in.submit("/device", "/device", user_code=device["user_code"])
    assert "another account" in said(answer)
    fields = signed_in.form("/device", "/device", user_code=device["user_code"])
    forged = signed_in.post("/device", fields | {"answer": "approve", "workspace": "main"})
    assert shown(forged, 403)


def test_a_device_gets_one_workspace_or_all(world: World, new_browser: Callable[..., Browser],
                                            new_person: Callable[..., Person]) -> None:  # fmt: skip
    from serai.identity import accounts

    person, (_, second) = new_person(), world.new_workspace()
    world.write(lambda conn: accounts.grant(conn, second, person.id, "member"))
    browser = new_browser()
    browser.sign_in(person.email, PASSWORD)
    for choice, seen in ((second, {second}), ("*", {"main", second})):
        device = ask_device(world)
        asked = browser.submit("/device", "/device", user_code=device["user_code"])
        assert "All my workspaces" in asked.text
        stranger = browser.submit(asked, "/device", workspace="not-mine", answer="approve")
        assert "one of your workspaces" in said(stranger)
        shown(browser.submit(stranger, "/device", workspace=choice, answer="approve"))
        token = poll(world, device).json()["access_token"]
        names = {one["name"] for one in profile(world, token).json()["workspaces"]}
        assert names == seen


def test_user_codes_cannot_be_guessed_for_long(
    world: World, signed_in: Browser, new_browser: Callable[..., Browser],
    new_person: Callable[..., Person],
) -> None:  # fmt: skip
    fields = signed_in.form("/device", "/device")
    statuses = [
        signed_in.post("/device", fields | {"user_code": f"AAAA-AA{a}{b}"}).status_code
        for a in "BCDEF" for b in "BCDEF"
    ]  # fmt: skip
    assert statuses == [404] * 20 + [429] * 5
    other = new_browser()
    other.sign_in(new_person().email, PASSWORD)
    assert shown(other.submit("/device", "/device", user_code=ask_device(world)["user_code"]))


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_user_code_may_be_typed_in_many_ways(
    world: World, signed_in: Browser, data: st.DataObject
) -> None:
    code = ask_device(world)["user_code"]
    noise = st.text(" -._\t0", max_size=2)
    typed = "".join(
        data.draw(noise) + data.draw(st.sampled_from([letter, letter.lower()]))
        for letter in code
        if letter.isalpha()
    )
    assert code in shown(signed_in.submit("/device", "/device", user_code=typed))


def authorize(**more: str) -> str:
    """A link of an application."""
    query = {
        "response_type": "code",
        "client_id": "blaxel",
        "redirect_uri": BACK,
        "state": "st&te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "scope": "openid profile",
    }
    return "/oauth/authorize?" + urlencode({k: v for k, v in (query | more).items() if v})


def target(page: httpx.Response) -> tuple[str, dict[str, list[str]]]:
    """Where a page sends the browser, and the query there."""
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', shown(page))
    assert found, page.text
    url = unescape(found[1])
    return url.partition("?")[0], parse_qs(urlsplit(url).query)


@pytest.mark.parametrize("prefix", ["", "/v0"])
def test_an_application_is_let_in(
    world: World, browser: Browser, person: Person, prefix: str
) -> None:
    link = prefix + authorize()
    to_login = browser.get(link)
    page = browser.get(to_login.headers["location"])
    back = browser.submit(page, "/login", email=person.email, password=PASSWORD)
    assert back.headers["location"].startswith(f"{prefix}/oauth/authorize?")
    asked = browser.get(back.headers["location"])
    assert "Know your name" in shown(asked)
    assert "a program on this computer" in asked.text
    assert asked.headers["content-security-policy"].count("form-action 'self';") == 1
    done = browser.submit(asked, f"{prefix}/oauth/authorize", answer="approve")
    place, query = target(done)
    assert (place, query["state"]) == (BACK, ["st&te"])
    form = {
        "grant_type": "authorization_code",
        "code": query["code"][0],
        "redirect_uri": BACK,
        "client_id": "blaxel",
        "code_verifier": VERIFIER,
    }
    tokens = httpx.post(f"{world.server.url}/oauth/token", data=form, trust_env=False).json()
    assert profile(world, tokens["access_token"]).json()["sub"] == person.id
    denied = browser.submit(browser.get(link), f"{prefix}/oauth/authorize", answer="deny")
    assert target(denied)[1]["error"] == ["access_denied"]


def test_wrong_destinations_are_never_sent_to(signed_in: Browser) -> None:
    for bad in (
        {"redirect_uri": "https://evil.example/cb"},
        {"client_id": "nobody"},
        {"redirect_uri": ""},
    ):
        answer = signed_in.get(authorize(**bad))
        assert shown(answer, 400)
        assert "evil.example" not in answer.text
    fields = signed_in.form(authorize(), "/oauth/authorize")
    query = authorize(redirect_uri="https://evil.example/cb").partition("?")[2]
    answer = signed_in.post("/oauth/authorize", fields | {"query": query, "answer": "approve"})
    assert shown(answer, 400)


def test_errors_and_silent_requests_go_to_the_application(
    signed_in: Browser, new_browser: Callable[..., Browser]
) -> None:
    for browser, more, error in (
        (signed_in, {"response_type": "token"}, "unsupported_response_type"),
        (signed_in, {"code_challenge": "", "code_challenge_method": ""}, "invalid_request"),
        (signed_in, {"prompt": "none"}, "consent_required"),
        (new_browser(), {"prompt": "none"}, "login_required"),
    ):
        answer = browser.get(authorize(**more))
        assert answer.status_code == 303, answer.text
        assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == [error]


def test_signing_in_again_when_the_application_wants_it(signed_in: Browser, person: Person) -> None:
    for more in ({"prompt": "login"}, {"max_age": "0"}):
        to_login = signed_in.get(authorize(**more))
        assert to_login.headers["location"].startswith("/login?next=")
        page = signed_in.get(to_login.headers["location"])
        back = signed_in.submit(page, "/login", email=person.email, password=PASSWORD)
        assert back.headers["location"].startswith("/oauth/authorize?")
        if "prompt" in more:
            assert "Let it in" in shown(signed_in.get(back.headers["location"]))


def test_consent_needs_the_form(signed_in: Browser) -> None:
    query = authorize().partition("?")[2]
    forged = {"query": query, "answer": "approve", "workspace": "main"}
    assert shown(signed_in.post("/oauth/authorize", forged), 403)
