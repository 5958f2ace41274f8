"""Signing in at a real OpenID provider, and at ones that lie."""

import base64
import hmac
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from client_venv import ROOT
from identity.conftest import World
from platform_server import Server, free_port

from .browser import Browser, Forms, is_at, said, shown
from .test_setup import reset_link

MODULES = ROOT / ".cache/clients/oidc-provider"
PROGRAM = Path(__file__).with_name("provider") / "server.mjs"
CALLBACK = "/login/upstream/callback"
SETTINGS = {
    "SERAI_OIDC_CLIENT_ID": "serai",
    "SERAI_OIDC_CLIENT_SECRET": "the-secret-of-serai+%",
    "SERAI_OIDC_LABEL": "Sign in with <Example>",
    "SERAI_OIDC_ALLOWED_DOMAINS": "example.com, example.org",
    "SERAI_OIDC_AUTO_CREATE": "true",
}


@pytest.fixture(scope="module", params=["claims in userinfo", "claims in the ID token"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server whose people sign in at a provider that runs in Node.js."""
    if not (shutil.which("node") and (MODULES / "node_modules").is_dir()):
        pytest.skip("NOT TESTED: no OpenID provider is installed; run `make clients`")
    issuer = f"http://127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("upstream")
    server = Server(folder / "data", SERAI_OIDC_ISSUER=issuer, **SETTINGS)
    in_token = "ID token" in request.param
    settings = {
        "ISSUER": issuer,
        "REDIRECT_URI": server.url + CALLBACK,
        "CLAIMS_IN_ID_TOKEN": "1" if in_token else "0",
        "AUTH_METHOD": "client_secret_post" if in_token else "client_secret_basic",
    }
    with (folder / "provider.log").open("wb") as log, PROGRAM.open("rb") as program:
        provider = subprocess.Popen(
            ["node", "--input-type=module", "-"],
            cwd=MODULES, stdin=program, stdout=log, stderr=log, env=os.environ | settings,
        )  # fmt: skip
    try:
        _wait_for(issuer, provider, folder / "provider.log")
        yield server.start()
    finally:
        provider.kill()
        provider.wait()
        server.stop()


def _wait_for(issuer: str, provider: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert provider.poll() is None, log.read_text()
        try:
            httpx.get(issuer + "/.well-known/openid-configuration", trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())


def go(browser: Browser, login: str, goal: str = "/account") -> httpx.Response:
    """Sign in there, and come back: the answer of our callback."""
    answer = browser.get(f"/login/upstream?next={goal}")
    while urlsplit(answer.headers.get("location", "")).path != CALLBACK:
        if answer.status_code in {302, 303}:
            answer = browser.http.get(answer.url.join(answer.headers["location"]))
        else:
            assert answer.status_code == 200, answer.text
            [(action, fields), *_] = Forms(answer.text).found
            typed = {"login": login, "password": "x"} if fields.get("prompt") == "login" else {}
            answer = browser.http.post(answer.url.join(action), data=fields | typed)
    return browser.http.get(answer.headers["location"])


def test_a_new_person_becomes_a_member(site: Server, new_browser: Callable[..., Browser]) -> None:
    browser = new_browser(server=site)
    page = shown(browser.get("/login?next=/device"))
    assert "Sign in with &lt;Example&gt;" in page
    assert 'href="/login/upstream?next=/device"' in page or "next=%2Fdevice" in page
    is_at(go(browser, "new@example.com", "/device"), "/device")
    assert 'value="Up"' in shown(browser.get("/account"))
    with site.client_for("test-admin-key-with-enough-characters") as api:
        people = {one["email"]: one for one in api.get("/v0/users").json()}
    assert people["new@example.com"]["role"] == "member"
    assert people["new@example.com"]["email_verified"] is True
    again = new_browser(server=site)
    is_at(go(again, "new@example.com"), "/account")
    with site.client_for("test-admin-key-with-enough-characters") as api:
        assert len(api.get("/v0/users").json()) == len(people)


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("unverified.x@example.com", "no verified e-mail address"),
        ("eve@elsewhere.example", "may not sign in here"),
        ("eve@example.com.evil.example", "may not sign in here"),
    ],
)
def test_people_who_may_not_come_in(
    site: Server, new_browser: Callable[..., Browser], login: str, words: str
) -> None:
    browser = new_browser(server=site)
    answer = go(browser, login)
    assert shown(answer, 403)
    assert words in said(answer)
    assert browser.session is None


def test_an_address_says_who_somebody_is_only_once(
    site: Server, new_browser: Callable[..., Browser]
) -> None:
    first, second = new_browser(server=site), new_browser(server=site)
    go(first, "moves@example.com")
    # Another identity there with the same verified address is linked to the same user here …
    is_at(go(second, "other.moves@example.com"), "/account")
    # … and an identity stays whose it was when the user's address changes.
    world = World(site)
    from serai.store.tables.identity import users

    change = users.update().where(users.c.email == "moves@example.com")
    world.write(lambda conn: conn.execute(change.values(email="moved@example.com")))
    world.close()
    third = new_browser(server=site)
    go(third, "moves@example.com")
    assert "moved@example.com" in shown(third.get("/account"))


def test_answers_that_this_browser_did_not_ask_for(
    site: Server, new_browser: Callable[..., Browser]
) -> None:
    browser = new_browser(server=site)
    for query in ("", "?code=x&state=y", "?error=access_denied"):
        assert "no sign-in that began in this browser" in said(browser.get(CALLBACK + query))
    started = browser.get("/login/upstream")
    state = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
    other = new_browser(server=site)
    assert "this browser" in said(other.get(f"{CALLBACK}?code=x&state={state}"))
    mixed = browser.get(f"{CALLBACK}?code=x&state={state}&iss=https://evil.example")
    assert "this browser" in said(mixed)
    browser.get("/login/upstream")
    assert shown(browser.get(f"{CALLBACK}?code=x&state={state}"), 400)


def test_a_second_factor_is_asked_for_here_too(
    site: Server, new_browser: Callable[..., Browser]
) -> None:
    from .test_second_factor import turn_on

    browser, later = new_browser(server=site), new_browser(server=site)
    go(browser, "careful@example.com")
    _, codes = turn_on(browser)
    asked = go(later, "careful@example.com", "/device")
    assert later.session is None
    is_at(later.submit(asked, "/login/code", code=codes[0]), "/device")


def test_a_first_password_for_somebody_from_there(
    site: Server, new_browser: Callable[..., Browser]
) -> None:
    browser = new_browser(server=site)
    go(browser, "both@example.com")
    new = {"password": "five words make a sentence", "again": "five words make a sentence"}
    is_at(browser.submit("/account", "/account/password", **new), "/account?done=password")
    is_at(browser.sign_in("both@example.com", new["password"]), "/account")
    assert "/login/reset" in reset_link(site, "both@example.com")


class Liar:
    """A provider whose ID tokens are made by the test."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
        self.claims: dict[str, Any] = {}
        self.make: Callable[[dict[str, Any]], str] = self.sign
        self.nonce = ""
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(liar.get(self.path))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.answer({"access_token": "x", "id_token": liar.make(liar.full_claims())})

            def answer(self, body: Any) -> None:
                raw = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def get(self, path: str) -> Any:
        if path == "/jwks":
            return {"keys": [self.key.as_dict(private=False)]}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        }

    def full_claims(self) -> dict[str, Any]:
        moment = int(time.time())
        good = {
            "iss": self.issuer, "aud": "serai", "sub": "someone", "iat": moment,
            "exp": moment + 300, "nonce": self.nonce, "email": "someone@example.com",
            "email_verified": True,
        }  # fmt: skip
        return {name: value for name, value in (good | self.claims).items() if value is not None}

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key, algorithms=["RS256"])

    def come_back(self, browser: Browser) -> httpx.Response:
        sent = parse_qs(urlsplit(browser.get("/login/upstream").headers["location"]).query)
        assert sent["code_challenge_method"] == ["S256"]
        self.nonce = sent["nonce"][0]
        return browser.get(f"{CALLBACK}?code=x&state={sent['state'][0]}")


@pytest.fixture(scope="module")
def lied_to(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Liar]]:
    liar = Liar()
    folder = tmp_path_factory.mktemp("liar")
    server = Server(folder / "data", SERAI_OIDC_ISSUER=liar.issuer, **SETTINGS).start()
    yield server, liar
    server.stop()
    liar.http.shutdown()


LONG_AGO = 1_000_000_000


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"iss": "https://other.example"}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["serai", "another"]}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"exp": LONG_AGO}, "exp"),
        ({"exp": None}, "exp"),
        ({"iat": 9_999_999_999}, "iat"),
        ({"nonce": "of another sign-in"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"sub": None}, "sub"),
        ({"sub": 7}, "sub"),
    ],
)
def test_id_tokens_that_are_not_for_us(
    lied_to: tuple[Server, Liar],
    new_browser: Callable[..., Browser],
    claims: dict[str, Any],
    fault: str,
) -> None:
    server, liar = lied_to
    liar.claims, liar.make = claims, liar.sign
    browser = new_browser(server=server)
    answer = liar.come_back(browser)
    assert f"({fault})" in said(answer)
    assert shown(answer, 502)
    assert browser.session is None


def confused(claims: dict[str, Any], key: RSAKey) -> str:
    """A token whose shared secret is the published key; no library makes one."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "one"}, claims)
    )
    secret = key.as_pem(private=False)
    mac = base64.urlsafe_b64encode(hmac.digest(secret, head + b"." + body, "sha256")).rstrip(b"=")
    return b".".join((head, body, mac)).decode()


def test_id_tokens_with_a_wrong_signature(
    lied_to: tuple[Server, Liar], new_browser: Callable[..., Browser]
) -> None:
    server, liar = lied_to
    liar.claims = {}
    foreign = ECKey.generate_key("P-256", private=True)

    def without(claims: dict[str, Any]) -> str:
        body = liar.sign(claims).split(".")[1]
        return "eyJhbGciOiJub25lIn0." + body + "."

    makers: list[Callable[[dict[str, Any]], str]] = [
        without,
        lambda claims: confused(claims, liar.key),
        lambda claims: jwt.encode({"alg": "ES256", "kid": "one"}, claims, foreign),
        lambda claims: liar.sign(claims)[:-6] + "AAAAAA",
        lambda _: "not.a.token",
    ]
    for make in makers:
        liar.make = make
        browser = new_browser(server=server)
        assert "(signature)" in said(liar.come_back(browser))
        assert browser.session is None
    liar.make = liar.sign
    is_at(liar.come_back(new_browser(server=server)), "/account")


def test_keys_that_were_changed_there_are_fetched_anew(
    lied_to: tuple[Server, Liar], new_browser: Callable[..., Browser]
) -> None:
    server, liar = lied_to
    liar.claims, liar.make = {}, liar.sign
    is_at(liar.come_back(new_browser(server=server)), "/account")
    liar.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
    answer = liar.come_back(new_browser(server=server))
    # Once a minute at most, so that forged tokens cannot make us ask all the time.
    assert answer.status_code in {303, 502}


def test_a_provider_that_is_down(
    new_server: Callable[..., Server], new_browser: Callable[..., Browser]
) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    server = new_server(SERAI_OIDC_ISSUER=down, **SETTINGS).start()
    answer = new_browser(server=server).get("/login/upstream")
    assert shown(answer, 502)
    assert "does not answer" in said(answer)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SERAI_OIDC_CLIENT_ID": ""}, "needed together"),
        ({"SERAI_OIDC_ALLOWED_DOMAINS": ""}, "everybody"),
        ({"SERAI_OIDC_ISSUER": "http://login.example.com"}, "https"),
        ({"SERAI_OIDC_ALLOWED_DOMAINS": "a b@c"}, "domains"),
    ],
)
def test_settings_that_do_not_go_together(
    new_server: Callable[..., Server], settings: dict[str, str], words: str
) -> None:
    given = {"SERAI_OIDC_ISSUER": "https://login.example.com"} | SETTINGS | settings
    done = new_server().run("up", **given)
    assert done.returncode == 2
    assert words in done.stderr
    assert "the-secret-of-serai+%" not in done.stderr
