"""Applications that account admins register."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.conftest import done, refused
from serai.kernel.errors import BadRequest
from serai.oauth import redirects

from .conftest import CALLBACK, Json, Tenant, basic, failed

ALL = "/v0/oauth/clients"
HOSTS = ["http://127.0.0.1", "http://[::1]", "http://localhost"]
paths = st.text(string.ascii_letters + string.digits + "/-._~%?=&", max_size=12).map(
    lambda text: "/" + text
)


def tokens_of(tenant: Tenant, client: Json) -> Json:
    params = {"response_type": "code", "client_id": client["client_id"]}
    body = {"grant_type": "authorization_code", "code": tenant.answer(params)["code"]}
    return tenant.tokens(body, headers=basic(client))


def test_an_application_from_its_making_to_its_end(tenant: Tenant) -> None:
    scopes = ["openid", "offline_access", "agents:list"]
    client = tenant.register(name="Dashboard", scopes=scopes)
    path = f"{ALL}/{client['client_id']}"
    secret = client.pop("client_secret")
    assert (client["name"], client["confidential"]) == ("Dashboard", True)
    assert (client["redirect_uris"], client["scopes"]) == ([CALLBACK], scopes)
    assert done(tenant.admin.get(path)) == client
    assert client in done(tenant.admin.get(ALL))

    client["client_secret"] = secret
    tokens = tokens_of(tenant, client)
    assert tokens["scope"] == "agents:list offline_access openid", "what was registered, by default"
    changed = done(tenant.admin.put(path, json={"name": "Board"}))
    assert (changed["name"], changed["scopes"]) == ("Board", scopes)
    assert tenant.works(tokens["access_token"])

    rotated = done(tenant.admin.post(f"{path}/secret"))
    assert rotated["client_secret"] != secret
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    failed(tenant.token(refresh, headers=basic(client)), "invalid_client")
    tokens = tenant.tokens(refresh, headers=basic(rotated))
    assert tenant.works(tokens["access_token"])

    done(tenant.admin.put(path, json={"scopes": ["openid", "offline_access"]}))
    assert not tenant.works(tokens["access_token"]), "it has a scope that was taken away"
    tokens = tokens_of(tenant, rotated)
    assert tokens["scope"] == "offline_access openid"

    assert done(tenant.admin.delete(path))["name"] == "Board"
    assert not tenant.works(tokens["access_token"])
    failed(tenant.token(refresh, headers=basic(rotated)), "invalid_client")
    refused(tenant.admin.get(path), 404, "OAUTH_CLIENT_NOT_FOUND")
    log = done(tenant.admin.get("/v0/audit", params={"kind": "oauth_client", "name": "Board"}))
    assert [one["action"] for one in log["data"]] == ["delete", "update", "rotate", "update"]
    assert secret not in str(log)


def test_public_applications_have_no_secret(tenant: Tenant) -> None:
    client = tenant.register(confidential=False)
    assert client["confidential"] is False
    assert "client_secret" not in client
    answer = tenant.admin.post(f"{ALL}/{client['client_id']}/secret")
    refused(answer, 400, "BAD_REQUEST")


def test_only_admins_of_the_account_see_its_applications(tenant: Tenant) -> None:
    client = tenant.register()
    path = f"{ALL}/{client['client_id']}"
    member, _ = tenant.new_user(tenant.admin, role="admin")
    stranger, _ = tenant.new_account()
    for method, where in [("GET", ALL), ("POST", ALL), ("GET", path), ("DELETE", path)]:
        refused(member.request(method, where, json={}), 403, "ADMIN_REQUIRED")
    assert done(stranger.get(ALL)) == []
    for method, where in [("GET", path), ("DELETE", path), ("POST", f"{path}/secret")]:
        refused(stranger.request(method, where), 404, "OAUTH_CLIENT_NOT_FOUND")
    refused(stranger.put(path, json={"name": "mine"}), 404, "OAUTH_CLIENT_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "everything"),
        ({"scopes": ["openid profile"]}, "scope"),
        ({"redirect_uris": [f"https://{n}.example" for n in range(21)]}, "redirect_uris"),
        ({"redirect_uris": CALLBACK}, "redirect_uris"),
        ({"confidential": "yes"}, "confidential"),
    ],
)
def test_applications_that_break_a_rule(tenant: Tenant, body: Json, named: str) -> None:
    whole = {"name": "x", "scopes": ["openid"], "redirect_uris": [CALLBACK]} | body
    answer = tenant.admin.post(ALL, json=whole)
    assert answer.status_code == 400
    assert named in answer.json()["message"]
    client = tenant.register()
    if "confidential" not in body:
        answer = tenant.admin.put(f"{ALL}/{client['client_id']}", json=body)
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "app.example/cb",
        "http://app.example/cb",
        "https://",
        "https:///cb",
        "https://app.example/cb#x",
        "https://*.app.example/cb",
        "https://user@app.example/cb",
        "https://app.example\\@evil.example",
        "https://app.example/c b",
        "https://app.example:99999/cb",
        "https://app.example:0/cb",
        "https://[::1/cb",
        "https://\u00e4pp.example/cb",
        "https://app.example/" + "x" * 2048,
        "HTTPS://app.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1@evil.example/cb",
        "http://192.168.0.1/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "myapp://cb",
        "urn:ietf:wg:oauth:2.0:oob",
    ],
)
def test_redirect_uris_that_nobody_may_register(tenant: Tenant, uri: str) -> None:
    body = {"name": "x", "scopes": ["openid"], "redirect_uris": [CALLBACK, uri]}
    message = refused(tenant.admin.post(ALL, json=body), 400, "INVALID_REDIRECT_URI")
    assert message.startswith("redirect_uris")


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example",
        "https://app.example:8443/cb?tenant=1",
        "http://localhost:3000/cb",
        "http://[::1]/",
        "com.example.app:/oauth/callback",
        "com.example.app:cb",
    ],
)
def test_redirect_uris_that_are_fine(tenant: Tenant, uri: str) -> None:
    client = tenant.register(redirect_uris=[uri])
    assert client["redirect_uris"] == [uri]
    assert tokens_of(tenant, client)["access_token"]


@given(host=st.sampled_from(HOSTS), path=paths, ports=st.tuples(*[st.integers(1, 65535)] * 2))
def test_the_port_of_a_loopback_address_is_free(
    host: str, path: str, ports: tuple[int, int]
) -> None:
    registered = redirects.check(f"{host}:{ports[0]}{path}")
    assert redirects.matches(registered, f"{host}:{ports[1]}{path}")
    assert redirects.matches(registered, f"{host}{path}")
    assert redirects.is_loopback(registered)


@given(
    registered=st.sampled_from([CALLBACK, "http://127.0.0.1/cb", "com.example.app:/cb"]),
    sent=st.text(max_size=40) | st.from_regex(r"https?://(127\.0\.0\.1|app\.example)\S*"),
)
def test_everything_else_matches_only_itself(registered: str, sent: str) -> None:
    for text in (sent, registered + sent, registered[: len(sent)]):
        if text != registered and redirects.matches(registered, text):
            assert registered.startswith("http://127.0.0.1")
            port = text.removeprefix("http://127.0.0.1:").removesuffix("/cb")
            assert port.isdigit()


@given(st.text(max_size=60) | st.from_regex(r"(https?|[a-z.]+):/{0,3}\S*"))
def test_a_registered_uri_is_never_a_surprise(uri: str) -> None:
    try:
        redirects.check(uri)
    except BadRequest:
        return
    assert uri.isascii()
    assert not set(uri) & set("#*\\ \r\n")
    scheme = uri.partition(":")[0]
    assert scheme in {"https", "http"} or "." in scheme
    assert scheme != "http" or redirects.is_loopback(uri)
