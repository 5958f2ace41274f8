"""VPCs, egress gateways and egress IPs."""

import itertools
from typing import Any

import httpx
import pytest

numbers = itertools.count()


def make(api: httpx.Client, path: str, spec: dict[str, Any], name: str | None = None) -> str:
    """A new resource; returns its name."""
    name = name or f"n-{next(numbers)}"
    answer = api.post(path, json={"metadata": {"name": name}, "spec": spec})
    assert answer.status_code == 200, answer.text
    return name


def test_the_life_of_a_vpc_its_gateways_and_addresses(api: httpx.Client) -> None:
    vpc = make(api, "/v0/vpcs", {"note": "x", "isolation": "strict"})
    shown = api.get(f"/v0/vpcs/{vpc}").json()
    assert shown["spec"] == {"note": "x", "isolation": "none"}
    gateways = f"/v0/vpcs/{vpc}/egressgateways"
    assert api.get(gateways).json() == []
    gateway = make(api, gateways, {"region": "us-pdx-1"})
    ips = f"{gateways}/{gateway}/ips"
    ip = make(api, ips, {"ipFamily": "IPv6", "publicIp": "192.0.2.1"})
    address = api.get(f"{ips}/{ip}").json()
    assert address["spec"] == {"ipFamily": "IPv6"}
    assert address["metadata"] | {"vpcName": vpc, "gatewayName": gateway} == address["metadata"]
    assert address["status"] == "DEACTIVATED"
    assert "cannot allocate" in address["events"][0]["message"]
    seen = api.get(f"{gateways}/{gateway}").json()
    assert (seen["status"], seen["metadata"]["vpcName"]) == ("DEACTIVATED", vpc)
    assert [item["metadata"]["name"] for item in api.get(ips).json()] == [ip]
    assert ip in [item["metadata"]["name"] for item in api.get("/v0/egressips").json()]
    assert gateway in [item["metadata"]["name"] for item in api.get("/v0/egressgateways").json()]
    assert api.get("/v0/egressgateways/usage").json()[gateway] == []
    for path in (f"/v0/vpcs/{vpc}", f"{gateways}/{gateway}"):
        refused = api.delete(path)
        assert (refused.status_code, refused.json()["error"][-7:]) == (409, "_IN_USE")
    assert api.delete(f"{ips}/{ip}").json() == address
    assert api.delete(f"{gateways}/{gateway}").json() == seen
    assert api.delete(f"/v0/vpcs/{vpc}").json() == shown
    for path in (f"/v0/vpcs/{vpc}", gateways, f"{gateways}/{gateway}", ips, f"{ips}/{ip}"):
        assert api.get(path).status_code == 404


def test_the_default_vpc_comes_with_its_first_gateway(api: httpx.Client) -> None:
    assert api.get("/v0/vpcs/default/egressgateways").status_code == 404
    gateway = make(api, "/v0/vpcs/default/egressgateways", {"region": "local"})
    assert api.get("/v0/vpcs/default").json()["spec"] == {"isolation": "none"}
    again = {"metadata": {"name": gateway}, "spec": {"region": "local"}}
    assert api.post("/v0/vpcs/default/egressgateways", json=again).status_code == 409


@pytest.mark.sandbox
def test_usage_counts_sandboxes(api: httpx.Client) -> None:
    gateway = make(api, "/v0/vpcs/default/egressgateways", {"region": "local"})
    network = {"egress": {"mode": "dedicated", "gateway": gateway}}
    spec = {"runtime": {"memory": 256}, "network": network}
    box = make(api, "/v0/sandboxes", spec)
    assert api.get("/v0/egressgateways/usage").json()[gateway] == [box]
    path = f"/v0/vpcs/default/egressgateways/{gateway}"
    assert box in api.delete(path).json()["message"]
    api.delete(f"/v0/sandboxes/{box}")
    assert api.delete(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "spec", "field"),
    [
        ("/v0/vpcs/default/egressgateways", {"region": "moon-1"}, "spec.region"),
        ("/v0/vpcs/default/egressgateways", {}, "region"),
        ("/v0/vpcs/a/egressgateways/b/ips", {"ipFamily": "IPv5"}, "spec.ipFamily"),
        ("/v0/vpcs", {"x": "y" * 20000}, "spec"),
        ("/v0/vpcs", [], "spec"),
    ],
)
def test_rules_name_the_field(api: httpx.Client, path: str, spec: Any, field: str) -> None:
    answer = api.post(path, json={"metadata": {"name": "x"}, "spec": spec})
    assert answer.status_code == 400
    assert field in answer.json()["message"]


def test_other_workspaces_see_nothing(api: httpx.Client, neighbour: httpx.Client) -> None:
    vpc = make(api, "/v0/vpcs", {})
    assert neighbour.get(f"/v0/vpcs/{vpc}").status_code == 404
    assert vpc not in neighbour.get("/v0/vpcs").text
    body = {"metadata": {"name": "g"}, "spec": {"region": "local"}}
    assert neighbour.post(f"/v0/vpcs/{vpc}/egressgateways", json=body).status_code == 404
