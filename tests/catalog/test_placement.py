"""Policies of locations and flavors: what may be written, and what may run on this machine."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from platform_server import KEY, Server
from serai.catalog.files import CatalogueFiles
from serai.catalog.placement import Attached, Placement, PolicyProhibits
from serai.catalog.places import Places

NewServer = Callable[[dict[str, str]], Server]
ROOM = """
detectedRegion = "fr-room-1"
[[locations]]
region = "us-far-1"
location = "Far away"
status = "healthy"
country = "US"
continent = "NA"
[[locations]]
region = "fr-room-1"
location = "Room"
status = "healthy"
country = "FR"
continent = "EU"
flavors = [{name = "x86", type = "cpu"}, {name = "t4", type = "gpu"}]
[[countries]]
name = "moon-side"
displayName = "The moon"
[[privateLocations]]
name = "vault"
"""


def place(name: str, type_: str) -> dict:
    return {"type": "location", "locations": [{"type": type_, "name": name}]}


def flavor(**one: str) -> dict:
    return {"type": "flavor", "flavors": [one]}


@pytest.fixture
def room(tmp_path) -> Placement:
    (tmp_path / "locations.toml").write_text(ROOM)
    return Placement(Places(CatalogueFiles(tmp_path)))


@pytest.fixture
def nowhere(tmp_path) -> Placement:
    return Placement(Places(CatalogueFiles(tmp_path)))


@pytest.fixture
def tidy(api: httpx.Client) -> Iterator[httpx.Client]:
    """The shared server's client; what the test makes is gone afterwards."""
    yield api
    for kind in ("agents", "models", "integrations/connections", "policies"):
        listed = api.get(f"/v0/{kind}").json()
        for one in listed["data"] if isinstance(listed, dict) else listed:
            assert api.delete(f"/v0/{kind}/{one['metadata']['name']}").is_success


def allows(rules: Placement, *specs: dict, kind: str = "agent", flavors=None) -> bool:
    try:
        rules.demand(kind, [Attached(f"p{n}", one) for n, one in enumerate(specs)], flavors)
    except PolicyProhibits:
        return False
    return True


def test_a_machine_is_in_the_one_place_that_it_declares(room: Placement) -> None:
    for name, type_ in (("fr-room-1", "location"), ("room", "location"), ("eu", "continent")):
        assert allows(room, place(name, type_))
    for name, type_ in (("us-far-1", "location"), ("us", "country"), ("na", "continent")):
        assert not allows(room, place(name, type_))
    assert not allows(room, place("fr", "continent"))


def test_one_policy_of_a_type_is_enough_and_all_types_must_allow(room: Placement) -> None:
    here, there = place("fr", "country"), place("us", "country")
    gpu, arm = flavor(name="t4", type="gpu"), flavor(name="arm64")
    assert allows(room)
    assert allows(room, there, here)
    assert allows(room, here, gpu)
    assert not allows(room, here, arm)
    assert allows(room, here, arm, gpu)
    assert not allows(room, there, gpu)
    assert allows(room, flavor(type="gpu"))


def test_a_policy_is_about_the_kinds_it_names(room: Placement) -> None:
    policy = place("us", "country") | {"resourceTypes": ["function", "model"]}
    assert allows(room, policy, kind="agent")
    assert allows(room, policy, kind="job")
    assert not allows(room, policy, kind="model")


def test_what_a_workload_asks_for_must_be_allowed_and_here(room: Placement) -> None:
    cpu = flavor(type="cpu")
    assert allows(room, cpu, flavors=[{"name": "x86", "type": "cpu"}])
    assert not allows(room, cpu, flavors=[{"name": "t4", "type": "gpu"}])
    assert not allows(room, flavor(name="h100"), flavors=[{"name": "h100"}])


def test_a_machine_that_declares_nothing_is_local_only(nowhere: Placement) -> None:
    assert allows(nowhere, place("local", "location"))
    assert not allows(nowhere, place("us-pdx-1", "location"))
    assert not allows(nowhere, place("us", "country"))
    assert allows(nowhere, flavor(name="cpu"))
    assert allows(nowhere, flavor(name="x86")) != allows(nowhere, flavor(name="arm64"))


def test_an_unknown_name_that_slipped_in_allows_nothing(room: Placement) -> None:
    assert not allows(room, place("atlantis", "country"))
    assert allows(room, place("atlantis", "country"), place("fr", "country"))
    assert not allows(room, {"type": "location", "locations": [{"name": "fr-room-1"}]})
    assert not allows(room, {"type": "flavor", "flavors": [{}]})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (place("atlantis", "country"), "spec.locations[0].name 'atlantis' is no known country"),
        (place("xx", "continent"), "af, an, as, eu, na, oc, sa"),
        (place("mars-1", "location"), "us-pdx-1"),
        ({"type": "location", "locations": [{"name": "eu"}]}, "spec.locations[0].type"),
        (flavor(name="t4", type="gpu"), "spec.flavors[0] 'gpu t4' is no known flavor"),
        (flavor(), "x86 (cpu)"),
    ],
)
def test_a_policy_that_names_what_nobody_knows_is_refused(
    api: httpx.Client, spec: dict, words: str
) -> None:
    body = {"metadata": {"name": "lost"}, "spec": spec}
    refused = api.post("/v0/policies", json=body)
    assert (refused.status_code, words in refused.json()["message"]) == (400, True), refused.text
    assert api.get("/v0/policies/lost").status_code == 404


def test_what_the_operator_lists_is_known(new_server: NewServer) -> None:
    server = new_server({"catalogue/locations.toml": ROOM}).start()
    with server.client_for(KEY) as api:
        known = (
            place("moon-side", "country"), place("vault", "location"), place("EU", "continent"),
            place("DE", "country"), flavor(name="t4", type="gpu"),
        )  # fmt: skip
        for number, spec in enumerate(known):
            body = {"metadata": {"name": f"p{number}"}, "spec": spec}
            assert api.post("/v0/policies", json=body).status_code == 200


def test_workloads_are_refused_where_their_policies_forbid_them(tidy: httpx.Client) -> None:
    for name, spec in (
        ("far", place("eu-fra-1", "location")),
        ("here", place("local", "location")),
    ):
        body = {"metadata": {"name": name}, "spec": spec}
        assert tidy.post("/v0/policies", json=body).status_code == 200
    for kind in ("agents", "functions", "jobs", "sandboxes"):
        body = {"metadata": {"name": "bound"}, "spec": {"policies": ["far"]}}
        refused = tidy.post(f"/v0/{kind}", json=body)
        assert refused.status_code == 403, refused.text
        assert "POLICY_VIOLATION" in refused.text
        message = refused.json()["message"]
        assert "policy 'far'" in message
        assert "this machine is in local" in message
        assert tidy.get(f"/v0/{kind}/bound").status_code == 404
    body["spec"] = {"policies": ["far", "here"]}
    assert tidy.post("/v0/agents", json=body).status_code == 200
    body["spec"] = {"policies": ["far"]}
    assert tidy.put("/v0/agents/bound", json=body).status_code == 403
    assert tidy.get("/v0/agents/bound").json()["spec"]["policies"] == ["far", "here"]


def test_a_job_whose_policy_has_changed_since_does_not_run(tidy: httpx.Client) -> None:
    policy = {"metadata": {"name": "moving"}, "spec": place("local", "location")}
    assert tidy.post("/v0/policies", json=policy).is_success
    runtime = {"image": "blaxel/base-image:latest", "memory": 128, "command": ["true"]}
    job = {"metadata": {"name": "bound-job"}, "spec": {"policies": ["moving"], "runtime": runtime}}
    assert tidy.post("/v0/jobs", json=job).is_success
    begun = tidy.post("/v0/jobs/bound-job/executions", json={})
    assert begun.is_success, begun.text
    policy["spec"] = place("us", "country")
    assert tidy.put("/v0/policies/moving", json=policy).is_success
    refused = tidy.post("/v0/jobs/bound-job/executions", json={})
    assert (refused.status_code, "policy 'moving'" in refused.text) == (403, True)
    assert tidy.delete("/v0/jobs/bound-job").is_success


def test_a_sandbox_needs_the_policies_that_it_names(api: httpx.Client) -> None:
    body = {"metadata": {"name": "lost"}, "spec": {"policies": ["nobody-made-it"]}}
    refused = api.post("/v0/sandboxes", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "POLICY_NOT_FOUND")
    assert "nobody-made-it" in refused.json()["message"]
    body["spec"] = {"policies": ["No Name"]}
    assert "spec.policies" in api.post("/v0/sandboxes", json=body).json()["message"]


def test_calls_of_a_model_are_refused_and_a_changed_policy_holds_at_once(
    tidy: httpx.Client,
) -> None:
    spec = {"integration": "openai", "secret": {"apiKey": "sk-1"}}
    spec["config"] = {"baseUrl": "http://127.0.0.1:9/v1"}
    named = {"metadata": {"name": "abroad"}}
    assert tidy.post("/v0/integrations/connections", json=named | {"spec": spec}).is_success
    policy = named | {"spec": place("us", "country")}
    assert tidy.post("/v0/policies", json=policy).is_success
    model = {"integrationConnections": ["abroad"], "policies": ["abroad"]}
    assert tidy.post("/v0/models", json=named | {"spec": model}).is_success

    def call() -> httpx.Response:
        return tidy.post("/main/models/abroad/v1/chat/completions", json={"messages": []})

    refused = call()
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert (error["code"], error["origin"], error["retryable"]) == (
        "POLICY_VIOLATION", "platform", False,
    )  # fmt: skip
    assert "country us" in error["message"]
    assert refused.headers["x-blaxel-error-code"] == "POLICY_VIOLATION"
    policy["spec"]["locations"].append({"type": "location", "name": "local"})
    assert tidy.put("/v0/policies/abroad", json=policy).is_success
    assert call().status_code == 502
