"""One server for all tests here, people who sign in to it, and applications that ask them.

There are no pages in these tests: people answer through the functions that the pages call.
"""

import base64
import hashlib
import secrets
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from identity.conftest import World, done
from platform_server import KEY, Server
from serai.identity.access_tokens import AccessTokens
from serai.identity.authenticator import CredentialAuthenticator
from serai.identity.signing_keys import KeyRing
from serai.oauth import authorization, devices
from serai.oauth.context import OAuth

with warnings.catch_warnings(action="ignore"):
    from authlib.integrations.httpx_client import OAuth2Client

CALLBACK = "https://app.example/callback"
LOOPBACK = "http://127.0.0.1:4711/callback"
EXACTLY = {"access_token", "expires_in", "refresh_token", "token_type"}
"""The members of a token answer that the official clients take."""
Json = dict[str, Any]


class Tenant(World):
    """A server with a person, and what an application does there."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.admin = self.client(KEY, "main")
        ring = KeyRing(self._db, self.vault)
        tokens = AccessTokens(ring, f"{server.url}/v0", server.url)
        self.oauth = OAuth(
            self._db,
            self.vault,
            tokens,
            CredentialAuthenticator(self._db, self.vault, tokens),
            server.url,
        )
        self.person: str = done(self.admin.get("/v0/profile"))["sub"]
        self.anyone = httpx.Client(base_url=server.url, trust_env=False, timeout=30)
        self._clients.append(self.anyone)

    def _agreement(self) -> Json:
        """What the pages know when the person agrees now, in the first workspace."""
        return {
            "user_id": self.person,
            "sign_in_id": None,
            "auth_time": int(time.time()),
            "workspace": "main",
            "bound": False,
            "at": datetime.now(UTC),
        }

    def answer(self, params: Json | list[tuple[str, str]], **more: Any) -> Json:
        """What an application gets at its redirect URI when the person agrees to its request."""
        pairs = list(params.items()) if isinstance(params, dict) else params
        fields = self._agreement() | more

        def agree(conn: Any) -> str:
            request = authorization.read_request(conn, self.oauth, pairs)
            scope = fields.pop("scope", request.scope)
            return authorization.approve(conn, self.oauth, request, scope=scope, **fields)

        return query_of(self.write(agree))

    def agree_to_device(self, user_code: str, **more: Any) -> None:
        """The person lets a device in."""
        fields = self._agreement() | more

        def agree(conn: Any) -> None:
            device = devices.find(conn, user_code, datetime.now(UTC))
            assert device is not None
            devices.approve(conn, device, **fields)

        self.write(agree)

    def ask(self, path: str, data: Json | None = None, **more: Any) -> httpx.Response:
        """A form to a protocol endpoint."""
        return self.anyone.post(path, data=data, **more)

    def token(self, data: Json, **more: Any) -> httpx.Response:
        """A form to the token endpoint."""
        return self.ask("/v0/oauth/token", data, **more)

    def tokens(self, data: Json, **more: Any) -> Json:
        """A successful token request."""
        return dict(done(self.token(data, **more)))

    def register(self, **more: Any) -> Json:
        """An application of the account."""
        body = {"name": "app", "redirect_uris": [CALLBACK], "scopes": ["openid", "agents:list"]}
        return dict(done(self.admin.post("/v0/oauth/clients", json=body | more)))

    def sign_in(self, scope: str = "offline_access", **more: Any) -> Json:
        """Tokens of the built-in client by way of a browser."""
        verifier, challenge = pkce()
        params = {
            "response_type": "code",
            "client_id": "blaxel",
            "redirect_uri": LOOPBACK,
            "scope": scope,
            **challenge,
        }
        code = self.answer(params, **more)["code"]
        return self.tokens(code_body(code, verifier))

    def device_sign_in(self) -> tuple[str, Json]:
        """A device code, and the tokens of the built-in client that came for it."""
        started = done(self.ask("/v0/login/device", {"client_id": "blaxel"}))
        self.agree_to_device(started["user_code"])
        code = started["device_code"]
        return code, self.tokens(device_body(code))

    def independent(self, client: Json, method: str, **more: Any) -> Any:
        """Authlib's client, which knows nothing of this server but its metadata."""
        return OAuth2Client(
            client["client_id"],
            client.get("client_secret"),
            token_endpoint_auth_method=method,
            trust_env=False,
            **more,
        )

    def works(self, access_token: str) -> bool:
        """Whether the API believes an access token."""
        headers = {"X-Blaxel-Authorization": f"Bearer {access_token}"}
        status = self.anyone.get("/v0/profile", headers=headers).status_code
        assert status in {200, 401}
        return status == 200


def asking(**more: Any) -> Json:
    """An authorization request of the built-in client."""
    params = {
        "response_type": "code",
        "client_id": "blaxel",
        "redirect_uri": LOOPBACK,
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
        "state": "s&t=1",
    }
    return {name: value for name, value in (params | more).items() if value is not None}


def pkce() -> tuple[str, dict[str, str]]:
    """A verifier, and the parameters that announce it."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return verifier, {"code_challenge": challenge, "code_challenge_method": "S256"}


def code_body(code: str, verifier: str, **more: str) -> Json:
    """A token request of the built-in client for a code."""
    body = {
        "grant_type": "authorization_code",
        "client_id": "blaxel",
        "code": code,
        "redirect_uri": LOOPBACK,
        "code_verifier": verifier,
    }
    return body | more


def device_body(device_code: str) -> Json:
    """A poll of the built-in client."""
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    return {"grant_type": grant, "client_id": "blaxel", "device_code": device_code}


def refresh_body(refresh_token: str, **more: str) -> Json:
    """A refresh of the built-in client."""
    body = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "blaxel"}
    return body | more


def basic(client: Json) -> dict[str, str]:
    """The header with a client's id and secret."""
    pair = f"{client['client_id']}:{client['client_secret']}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def query_of(url: str) -> Json:
    """The query of a URL."""
    return dict(parse_qsl(urlsplit(url).query))


def params_of(url: str) -> list[tuple[str, str]]:
    """The query of an authorization URL, as the page gets it."""
    return parse_qsl(urlsplit(url).query)


def failed(answer: httpx.Response, error: str, status: int = 400) -> str:
    """The description of a protocol error."""
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error), body
    assert body.keys() == {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store"
    return str(body["error_description"])


def with_query(url: str, params: Json) -> str:
    """A URL with parameters."""
    return f"{url}?{urlencode(params)}"


@pytest.fixture(scope="package")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    server = Server(tmp_path_factory.mktemp("oauth") / "data").start()
    tenant = Tenant(server)
    yield tenant
    tenant.close()
    server.stop()


@pytest.fixture(scope="package")
def machine(tenant: Tenant) -> Json:
    """A service account with its secret."""
    return dict(done(tenant.admin.post("/v0/service_accounts", json={"name": "oauth"})))
