"""Custom domains are served: previews by their names there, for those who may, and nobody else."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from network_dns import Zone
from platform_server import Server
from server_fixtures import new_server

from .test_domains import create, point, unique, verified, verify

__all__ = ["new_server"]
pytestmark = pytest.mark.sandbox
APP = """
import http.server, json
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        fields = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "app": "%s", "headers": fields}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("", 3000), App).serve_forever()
"""
numbers = itertools.count()


def made(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def app(client: httpx.Client, workspace: str) -> str:
    """A sandbox in which a server tells what it was asked."""
    name = f"app-{next(numbers)}"
    spec = {"runtime": {"memory": 512}}
    made(client.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec}))
    inside = f"/{workspace}/sandboxes/{name}"
    made(client.put(f"{inside}/filesystem//tmp/app.py", json={"content": APP % workspace}))
    process = {"command": "python3 /tmp/app.py", "waitForPorts": [3000]}
    made(client.post(f"{inside}/process", json=process))
    return name


@pytest.fixture(scope="module")
def main_app(server: Server) -> str:
    return app(server.client, "main")


@pytest.fixture
def neighbour_app(neighbour: httpx.Client) -> str:
    return app(neighbour, "beside")


@pytest.fixture
def visitor(server: Server) -> Iterator[Callable[[str], httpx.Response]]:
    """Somebody who asks for a host, as DNS would lead them here."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield lambda host: client.get("/x?y=1", headers={"Host": host})


def preview(client: httpx.Client, box: str, name: str, domain: str, **spec: Any) -> httpx.Response:
    wanted = {"port": 3000, "public": True, "customDomain": domain} | spec
    body = {"metadata": {"name": name}, "spec": wanted}
    return client.post(f"/v0/sandboxes/{box}/previews", json=body)


def test_a_preview_has_its_name_in_a_verified_domain(
    api: httpx.Client,
    zone: Zone,
    server: Server,
    main_app: str,
    visitor: Callable[[str], httpx.Response],
) -> None:
    domain = unique()
    asked = create(api, domain)
    refused = preview(api, main_app, "cart", domain)
    assert (refused.status_code, "is pending" in refused.json()["message"]) == (400, True)
    point(zone, asked)
    assert verify(api, domain)["status"] == "verified"
    url = made(preview(api, main_app, "cart", domain.upper()))["spec"]["url"]
    assert url == f"http://cart.{domain}:{server.port}"
    seen = made(visitor(f"cart.{domain}"))
    assert (seen["path"], seen["headers"]["host"]) == ("/x?y=1", f"cart.{domain}")
    named = made(preview(api, main_app, "named", domain, prefixUrl="shop"))["spec"]["url"]
    assert named == f"http://shop.{domain}:{server.port}"
    assert visitor(f"shop.{domain}:{server.port}").status_code == 200
    assert visitor(f"other.{domain}").status_code == 404
    # as the domain goes, so does the name
    made(api.delete(f"/v0/customdomains/{domain}"))
    assert visitor(f"shop.{domain}").status_code == 404
    assert "headers" not in visitor(f"shop.{domain}").text


def test_names_are_unique_and_follow_changes(
    api: httpx.Client,
    zone: Zone,
    main_app: str,
    visitor: Callable[[str], httpx.Response],
) -> None:
    domain = verified(api, zone)
    made(preview(api, main_app, "first", domain, prefixUrl="same"))
    taken = preview(api, main_app, "second", domain, prefixUrl="same")
    assert taken.status_code == 409
    path = f"/v0/sandboxes/{main_app}/previews/first"
    body = made(api.get(path))
    body["spec"]["prefixUrl"] = "moved"
    made(api.put(path, json=body))
    assert visitor(f"moved.{domain}").status_code == 200
    assert visitor(f"same.{domain}").status_code == 404
    del body["spec"]["customDomain"]
    assert "/preview/" in made(api.put(path, json=body))["spec"]["url"]
    assert visitor(f"moved.{domain}").status_code == 404


def test_the_fallback_preview_answers_for_other_names(
    api: httpx.Client, zone: Zone, main_app: str, visitor: Callable[[str], httpx.Response]
) -> None:
    domain = verified(api, zone)
    made(preview(api, main_app, "landing-page", domain))
    where = f"/v0/customdomains/{domain}"
    wanted = {"metadata": {"name": domain}, "spec": {"fallbackPreviewId": "landing-page"}}
    made(api.put(where, json=wanted))
    fallen = made(visitor(f"unknown.{domain}"))["headers"]
    assert fallen["x-blaxel-fallback"] == "true"
    assert fallen["x-blaxel-fallback-preview"] == "unknown"
    assert fallen["x-blaxel-fallback-domain"] == domain
    assert "x-blaxel-fallback" not in made(visitor(f"landing-page.{domain}"))["headers"]
    wanted["spec"]["fallbackPreviewId"] = ""
    made(api.put(where, json=wanted))
    assert visitor(f"unknown.{domain}").status_code == 404


def test_only_whom_it_is_shared_with_may_use_it_and_only_as_long(
    api: httpx.Client,
    neighbour: httpx.Client,
    stranger: httpx.Client,
    zone: Zone,
    neighbour_app: str,
    main_app: str,
    visitor: Callable[[str], httpx.Response],
) -> None:
    domain = verified(api, zone)
    assert preview(neighbour, neighbour_app, "theirs", domain).status_code == 400
    made(api.post(f"/v0/customdomains/{domain}/share", json={"targetWorkspace": "beside"}))
    made(preview(neighbour, neighbour_app, "theirs", domain))
    assert made(visitor(f"theirs.{domain}"))["app"] == "beside"
    assert preview(api, main_app, "theirs", domain).status_code == 409
    # a fallback is the owner's own
    wanted = {"metadata": {"name": domain}, "spec": {"fallbackPreviewId": "theirs"}}
    made(api.put(f"/v0/customdomains/{domain}", json=wanted))
    assert visitor(f"unknown.{domain}").status_code == 404
    # a stranger who names the same domain gets nothing of it, verified or not
    theirs = create(stranger, domain)
    assert visitor(f"theirs.{domain}").status_code == 200
    point(zone, theirs)
    assert verify(stranger, domain)["status"] == "failed"
    assert made(visitor(f"theirs.{domain}"))["app"] == "beside"
    made(api.delete(f"/v0/customdomains/{domain}/share/beside"))
    assert visitor(f"theirs.{domain}").status_code == 404


def test_unverified_domains_are_refused_where_we_know_our_name(
    new_server: Callable[..., Server], zone: Zone
) -> None:
    server = new_server(SERAI_PUBLIC_URL="http://serai.example.org")
    server.data_dir.mkdir(mode=0o700)
    text = f'nameservers = ["127.0.0.1:{zone.port}"]\nown_hosts = ["127.0.0.1", "serai.lan.test"]\n'
    (server.data_dir / "network.toml").write_text(text)
    server.start()
    for domain in ("pending.example.com", "example.org", "lan.test"):
        create(server.client, domain)
    page = server.client.get(
        "/", headers={"Host": "www.pending.example.com", "Accept": "text/html"}
    )
    assert page.status_code == 421
    assert "not verified" in page.text
    for host in ("serai.example.org", "serai.lan.test", "anything.test"):
        assert server.client.get("/health", headers={"Host": host}).status_code == 200
