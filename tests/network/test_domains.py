"""Custom domains: their records are looked up in a real DNS server."""

import itertools
import time
from typing import Any

import httpx
import pytest

from network_dns import Zone
from platform_server import today

numbers = itertools.count()
TARGET = "serai.example.net"
ACTIVE = "custom_domain_active_time_hours"


def unique() -> str:
    """A domain no other test uses."""
    return f"d{next(numbers)}.example.com"


def create(api: httpx.Client, domain: str, **spec: Any) -> dict[str, Any]:
    """A new domain."""
    body = {"metadata": {"name": domain}, "spec": spec}
    answer = api.post("/v0/customdomains", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def point(zone: Zone, domain: dict[str, Any]) -> None:
    """Set the records that the domain asks for."""
    name, spec = domain["metadata"]["name"], domain["spec"]
    for record, value in spec["txtRecords"].items():
        zone.records[record, "TXT"] = [f'"{value}"']
    source = f"*.{name}" if spec["domainType"] == "previews" else name
    zone.records[source, "CNAME"] = [spec["cnameRecords"] + "."]


def verify(api: httpx.Client, domain: str) -> dict[str, Any]:
    """The domain's spec after a verification."""
    answer = api.post(f"/v0/customdomains/{domain}/verify")
    assert answer.status_code == 200, answer.text
    return answer.json()["spec"]


def verified(api: httpx.Client, zone: Zone) -> str:
    """A verified domain's name."""
    domain = unique()
    point(zone, create(api, domain))
    assert verify(api, domain)["status"] == "verified"
    return domain


def test_the_life_of_a_domain(api: httpx.Client) -> None:
    domain = unique()
    made = create(api, domain, region="eu-lon-1", status="verified", txtRecords={"x": "y"})
    spec = dict(made["spec"])
    assert (spec["status"], spec["domainType"]) == ("pending", "previews")
    assert (spec["cnameRecords"], spec["region"]) == (TARGET, "eu-lon-1")
    assert list(spec["txtRecords"]) == [f"_serai-verification.{domain}"]
    assert made["metadata"]["workspace"] == "main"
    assert "url" not in made["metadata"]
    again = api.post("/v0/customdomains", json=made)
    assert (again.status_code, again.json()["error"]) == (409, "CUSTOM_DOMAIN_ALREADY_EXISTS")
    assert domain in [item["metadata"]["name"] for item in api.get("/v0/customdomains").json()]
    made["metadata"]["labels"] = {"a": "b"}
    made["spec"] |= {"fallbackPreviewId": "p1", "status": "verified", "txtRecords": {}}
    changed = api.put(f"/v0/customdomains/{domain}", json=made).json()
    assert changed["metadata"]["labels"] == {"a": "b"}
    assert changed["spec"]["txtRecords"] == spec["txtRecords"]
    assert (changed["spec"]["status"], changed["spec"]["fallbackPreviewId"]) == ("pending", "p1")
    assert api.delete(f"/v0/customdomains/{domain}").json() == changed
    assert api.get(f"/v0/customdomains/{domain}").status_code == 404


def test_verification_asks_dns(api: httpx.Client, zone: Zone) -> None:
    domain = unique()
    made = create(api, domain)
    missing = verify(api, domain)
    assert missing["status"] == "failed"
    assert f"_serai-verification.{domain} is missing" in missing["verificationError"]
    point(zone, made)
    good = dict(zone.records)
    record = (f"_serai-verification.{domain}", "TXT")
    zone.records[record] = ['"something else"', '"v=spf1 -all"']
    assert "something else" in verify(api, domain)["verificationError"]
    zone.records = dict(good)
    zone.records[f"*.{domain}", "CNAME"] = ["wrong.example.org."]
    wrong = verify(api, domain)
    assert "wrong.example.org" in wrong["verificationError"]
    assert TARGET in wrong["verificationError"]
    zone.records = good
    right = verify(api, domain)
    assert right["status"] == "verified"
    assert "verificationError" not in right
    assert right["lastVerifiedAt"].endswith("Z")
    del zone.records[record]
    assert verify(api, domain)["status"] == "failed"


def test_a_domain_is_paid_for_while_it_is_verified(api: httpx.Client, zone: Zone) -> None:
    account = api.get("/v0/accounts").json()[0]["id"]
    domain = unique()
    made = create(api, domain)

    def used() -> float:
        query = today(groupBy="billing_dimension", resourceName=domain)
        data = api.get(f"/v0/accounts/{account}/metrics", params=query).json()["data"]
        assert [row["billingDimension"] for row in data] in ([], [ACTIVE])
        return sum(float(row["summary"]["usage"]) for row in data) * 3600

    assert used() == 0
    point(zone, made)
    begin = time.monotonic()
    verify(api, domain)
    inner = time.monotonic()
    time.sleep(1)
    inner = time.monotonic() - inner
    assert api.delete(f"/v0/customdomains/{domain}").status_code == 200
    outer = time.monotonic() - begin
    assert inner - 0.01 <= used() <= outer + 0.01
    final = used()
    time.sleep(0.2)
    assert used() == final


def test_addresses_count_where_no_cname_can_be(api: httpx.Client, zone: Zone) -> None:
    domain = unique()
    made = create(api, domain, domainType="applications")
    point(zone, made)
    del zone.records[domain, "CNAME"]
    zone.records[domain, "A"] = ["192.0.2.7"]
    zone.records[TARGET, "A"] = ["192.0.2.8"]
    assert verify(api, domain)["status"] == "failed"
    zone.records[TARGET, "A"] = ["192.0.2.7", "192.0.2.8"]
    assert verify(api, domain)["status"] == "verified"


def test_a_broken_dns_server_is_named(api: httpx.Client, zone: Zone) -> None:
    domain = unique()
    create(api, domain)
    zone.failing = True
    try:
        found = verify(api, domain)
    finally:
        zone.failing = False
    assert found["status"] == "failed"
    assert "could not be read" in found["verificationError"]


def test_one_workspace_owns_a_domain(api: httpx.Client, stranger: httpx.Client, zone: Zone) -> None:
    domain = verified(api, zone)
    point(zone, create(stranger, domain))
    found = verify(stranger, domain)
    assert found["status"] == "failed"
    assert "Another workspace" in found["verificationError"]


def test_sharing(
    api: httpx.Client, neighbour: httpx.Client, stranger: httpx.Client, zone: Zone
) -> None:
    domain = verified(api, zone)
    path = f"/v0/customdomains/{domain}"
    assert neighbour.get(path).status_code == 404
    for _ in range(2):
        shared = api.post(f"{path}/share", json={"targetWorkspace": "beside"})
        assert (shared.status_code, shared.json()["metadata"]["name"]) == (200, domain)
    assert api.get(f"{path}/share").json() == [
        {"workspace": "beside", "status": "active", "workspaceDisplayName": "beside"}
    ]
    seen = neighbour.get(path).json()["metadata"]
    assert (seen["sharedFromWorkspace"], seen["workspace"]) == ("main", "beside")
    assert domain in [
        item["metadata"]["name"] for item in neighbour.get("/v0/customdomains").json()
    ]
    for refused in (neighbour.put(path, json=shared.json()), neighbour.delete(path)):
        assert refused.status_code == 403
    taken = neighbour.post("/v0/customdomains", json={"metadata": {"name": domain}, "spec": {}})
    assert taken.status_code == 409
    assert api.delete(f"{path}/share/beside").json()["metadata"]["name"] == domain
    assert neighbour.get(path).status_code == 404
    assert api.delete(f"{path}/share/beside").status_code == 404
    assert api.post(f"{path}/share", json={"targetWorkspace": "account"}).status_code == 200
    assert neighbour.get(path).status_code == 200
    assert stranger.get(path).status_code == 404
    api.delete(path)
    assert neighbour.get(path).status_code == 404


def test_what_cannot_be_shared(api: httpx.Client, stranger: httpx.Client, zone: Zone) -> None:
    pending = unique()
    create(api, pending)
    path = f"/v0/customdomains/{pending}/share"
    assert "pending" in api.post(path, json={"targetWorkspace": "beside"}).json()["message"]
    domain = verified(api, zone)
    path = f"/v0/customdomains/{domain}/share"
    assert api.post(path, json={"targetWorkspace": "main"}).status_code == 400
    unknown = api.post(path, json={"targetWorkspace": "elsewhere"})
    absent = api.post(path, json={"targetWorkspace": "elsewherf"})
    assert (unknown.status_code, absent.status_code) == (404, 404)
    assert unknown.json()["message"].replace("elsewhere", "X") == absent.json()["message"].replace(
        "elsewherf", "X"
    )


@pytest.mark.parametrize(
    "name",
    ["example", "-a.com", "a..com", "1.2.3.4", "*.a.com", "a.com.", "https://a.com", "é.com", ""],
)
def test_names_are_domains(api: httpx.Client, name: str) -> None:
    answer = api.post("/v0/customdomains", json={"metadata": {"name": name}, "spec": {}})
    assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_NAME")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"domainType": "other"}, "spec.domainType"),
        ({"region": "moon-1"}, "spec.region"),
        ({"validationMethod": "http"}, "spec.validationMethod"),
        ({"subjectAlternativeNames": [{"a": 1}]}, "spec.subjectAlternativeNames"),
        ({"fallbackPreviewId": "x" * 200}, "spec.fallbackPreviewId"),
    ],
)
def test_rules_name_the_field(api: httpx.Client, spec: dict[str, Any], field: str) -> None:
    answer = api.post("/v0/customdomains", json={"metadata": {"name": unique()}, "spec": spec})
    assert answer.status_code == 400
    assert field in answer.json()["message"]


def test_type_is_fixed_and_applications_must_exist(api: httpx.Client) -> None:
    domain = unique()
    made = create(api, domain)
    made["spec"]["domainType"] = "applications"
    refused = api.put(f"/v0/customdomains/{domain}", json=made)
    assert "spec.domainType cannot change" in refused.json()["message"]
    body = {"metadata": {"name": unique()}, "spec": {}}
    assert api.post("/v0/applications/nope/customdomains", json=body).status_code == 404
