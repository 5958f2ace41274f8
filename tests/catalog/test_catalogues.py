"""Places, hubs, templates and the changelog, and the files that extend them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from platform_server import Server

NewServer = Callable[[dict[str, str]], Server]

LOCATIONS = """
detectedRegion = "home-1"
[[locations]]
region = "home-1"
location = "Basement"
status = "healthy"
country = "FR"
continent = "EU"
[[countries]]
name = "FR"
displayName = "France"
"""
PUBLIC_IPS = """
[publicIps.home-1]
description = "Basement"
ipv4Cidrs = ["192.0.2.0/29"]
ipv6Cidrs = []
"""
MCP_HUB = {"servers": [{"name": "files", "displayName": "Files", "coming_soon": False}]}
TEMPLATES = '[[templates]]\nname = "agent-py"\nurl = "file:///srv/agent"\ntopics = ["agent"]\n'
SANDBOXES = '[[sandboxes]]\nname = "base-image"\nimage = "blaxel/base-image"\nmemory = 512\n'


def test_locations_name_the_regions_of_clients(api: httpx.Client) -> None:
    regions = [item["region"] for item in api.get("/v0/locations").json()]
    assert regions[0] == "local"
    assert {"us-pdx-1", "us-was-1", "eu-lon-1"} <= set(regions)
    shown = api.get("/v0/configuration").json()
    assert [region["name"] for region in shown["regions"]] == regions
    assert shown["regions"][0]["egressAvailable"] is False
    assert (shown["countries"], shown["privateLocations"]) == ([], [])
    addresses = api.get("/v0/publicIps").json()
    assert addresses["local"]["ipv4Cidrs"] == []
    assert list(api.get("/v0/publicIps?region=us-pdx-1").json()) == ["us-pdx-1"]


@pytest.mark.sandbox
def test_the_sandbox_hub_offers_what_there_is(api: httpx.Client) -> None:
    hub = api.get("/v0/sandbox/hub").json()
    base = next(item for item in hub if item["name"] == "base-image")
    assert base["image"] == "blaxel/base-image:latest"


def test_nothing_is_offered_that_is_not_there(api: httpx.Client) -> None:
    assert api.get("/v0/mcp/hub").json() == []
    assert api.get("/v0/templates").json() == []
    assert api.get("/v0/templates/agent").json()["error"] == "TEMPLATE_NOT_FOUND"


def test_the_changelog_needs_no_key(server: Server) -> None:
    answer = httpx.get(f"{server.url}/v0/changelog", trust_env=False)
    entries = answer.json()["entries"]
    dates = [entry["date"] for entry in entries]
    assert dates == sorted(dates, reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates)
    assert all(entry["title"] and entry["content"] for entry in entries)


def test_an_operator_extends_the_catalogues(new_server: NewServer) -> None:
    made = new_server(
        {
            "catalogue/locations.toml": LOCATIONS,
            "catalogue/public-ips.toml": PUBLIC_IPS,
            "catalogue/mcp-hub.json": json.dumps(MCP_HUB),
            "catalogue/templates.toml": TEMPLATES,
            "catalogue/sandbox-hub.toml": SANDBOXES,
        }
    ).start()
    get = made.client.get
    assert [item["location"] for item in get("/v0/locations").json()] == ["Basement"]
    shown = get("/v0/configuration").json()
    assert shown["countries"] == [{"name": "FR", "displayName": "France"}]
    assert shown["continents"] == [{"name": "EU", "displayName": "EU"}]
    assert get("/v0/publicIps").json()["home-1"]["ipv4Cidrs"] == ["192.0.2.0/29"]
    assert get("/v0/mcp/hub").json() == MCP_HUB["servers"]
    assert get("/v0/templates/agent-py").json()["topics"] == ["agent"]
    base = [item for item in get("/v0/sandbox/hub").json() if item["name"] == "base-image"]
    assert base == [{"name": "base-image", "image": "blaxel/base-image", "memory": 512}]
    body = {"metadata": {"name": "a.example.com"}, "spec": {"region": "us-pdx-1"}}
    assert "home-1" in made.client.post("/v0/customdomains", json=body).json()["message"]


def test_files_are_read_again_and_mistakes_do_no_harm(new_server: NewServer) -> None:
    made = new_server({"catalogue/templates.toml": TEMPLATES}).start()
    path = made.data_dir / "catalogue" / "templates.toml"
    templates = made.client.get("/v0/templates").json()
    for mistake in ("not toml", "[[templates]]\nname = 3", "[[template]]\nname = 'x'"):
        path.write_text(mistake)
        assert made.client.get("/v0/templates").json() == templates
        assert "templates.toml" in made.logged(event="catalogue_file_unreadable")["path"]
    path.write_text(TEMPLATES.replace("agent-py", "agent-ts"))
    assert [item["name"] for item in made.client.get("/v0/templates").json()] == ["agent-ts"]
    path.unlink()
    assert made.client.get("/v0/templates").json() == []


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('nameservers = ["dns.example.com"]', "nameservers"),
        ('nameservers = ["192.0.2.1:99999"]', "nameservers"),
        ('cname_target = "nowhere"', "cname_target"),
        ('unknown = "x"', "unknown"),
        ("nameservers = 3", "nameservers"),
    ],
)
def test_a_wrong_network_file_stops_the_start(new_server: NewServer, text: str, field: str) -> None:
    made = new_server({"network.toml": text})
    with pytest.raises(AssertionError, match="serai up ended"):
        made.start()
    said = Path(made.log).read_text()
    assert field in said
    assert "network.toml" in said
    assert "Traceback" not in said
    made.process = None
