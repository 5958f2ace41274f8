"""Revisions, rollback, canaries and events of deployments."""

import itertools
from typing import Any

import httpx
import pytest

from platform_server import Server

numbers = itertools.count()


def agent(name: str, image: str, **spec: Any) -> dict[str, Any]:
    """An agent that runs an image, with a secret."""
    envs = [{"name": "TOKEN", "value": f"secret-of-{image}", "secret": True}]
    return {"metadata": {"name": name}, "spec": {"runtime": {"image": image, "envs": envs}} | spec}


class Deployment:
    """One agent over HTTP."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.name = f"rev-{next(numbers)}"
        self.path = f"/v0/agents/{self.name}"
        assert api.post("/v0/agents", json=agent(self.name, "v1")).status_code == 200

    def put(self, body: Any, status: int = 200) -> Any:
        """Replace it; returns the answer."""
        answered = self.api.put(self.path, json=body)
        assert answered.status_code == status, answered.text
        return answered.json()

    def deploy(self, image: str, **spec: Any) -> Any:
        """Replace it with another image."""
        return self.put(agent(self.name, image, **spec))

    def get(self, **params: str) -> Any:
        """Read it."""
        return self.api.get(self.path, params=params).json()

    def revisions(self) -> list[dict[str, Any]]:
        """Its revisions, newest first."""
        listed = self.api.get(f"{self.path}/revisions").json()
        assert isinstance(listed, list)
        return listed

    def events(self) -> list[dict[str, Any]]:
        """What was done to it; what comes of that is the deployment's own."""
        events: list[dict[str, Any]] = self.get()["events"]
        return [event for event in events if event["type"] not in {"deployment", "status"}]


@pytest.fixture
def deployed(api: httpx.Client) -> Deployment:
    """An agent with one revision."""
    return Deployment(api)


def test_each_change_of_settings_is_a_revision_and_five_are_kept(deployed: Deployment) -> None:
    first = deployed.revisions()
    assert [one["active"] for one in first] == [True]
    assert first[0]["trafficPercent"] == 100
    for number in range(2, 8):
        deployed.deploy(f"v{number}")
    kept = deployed.revisions()
    assert len(kept) == 5
    assert [one["active"] for one in kept] == [True, False, False, False, False]
    assert [one["previousActive"] for one in kept] == [False, True, False, False, False]
    assert kept[0]["id"] == deployed.get()["spec"]["revision"]["active"]
    assert first[0]["id"] not in {one["id"] for one in kept}
    assert {"createdAt", "createdBy", "canary"} <= kept[0].keys()


def test_labels_alone_change_nothing_but_labels(deployed: Deployment) -> None:
    before, told = deployed.get(), deployed.events()
    kept = [one | {"status": None} for one in deployed.revisions()]
    echoed = before | {"metadata": before["metadata"] | {"labels": {"a": "b"}}}
    assert deployed.put(echoed)["metadata"]["labels"] == {"a": "b"}
    assert deployed.events() == told
    assert [one | {"status": None} for one in deployed.revisions()] == kept
    assert deployed.get()["spec"] == before["spec"]


def test_the_same_again_is_no_revision(deployed: Deployment) -> None:
    deployed.deploy("v1")
    deployed.put(deployed.get())
    assert len(deployed.revisions()) == 1
    assert [event["type"] for event in deployed.events()] == ["created"]


def test_a_new_secret_value_is_a_revision(deployed: Deployment) -> None:
    body = agent(deployed.name, "v1")
    body["spec"]["runtime"]["envs"][0]["value"] = "another"
    deployed.put(body)
    assert len(deployed.revisions()) == 2


def test_rollback_and_the_deploy_after_it(deployed: Deployment) -> None:
    old = deployed.revisions()[0]["id"]
    deployed.deploy("v2")
    shown = deployed.get()
    shown["spec"]["revision"]["active"] = old
    rolled = deployed.put(shown)
    assert rolled["spec"]["revision"] == {"active": old}
    newest, oldest = deployed.revisions()
    assert (oldest["active"], oldest["trafficPercent"]) == (True, 100)
    assert (newest["previousActive"], newest["trafficPercent"]) == (True, 0)
    event = deployed.events()[-1]
    assert (event["type"], event["revision"]) == ("rollout", old)
    assert deployed.deploy("v3")["spec"]["revision"] == {"active": old}
    staged = deployed.revisions()[0]
    assert (staged["active"], staged["trafficPercent"]) == (False, 0)
    forward = deployed.put({"metadata": {}, "spec": {"revision": {"active": staged["id"]}}})
    assert forward["spec"]["revision"]["active"] == staged["id"]
    assert forward["spec"]["runtime"]["image"] == "v3"
    assert deployed.deploy("v4")["spec"]["revision"]["active"] == deployed.revisions()[0]["id"]


def test_a_canary_takes_its_share_and_is_promoted(deployed: Deployment) -> None:
    first = deployed.revisions()[0]["id"]
    sent = {"traffic": 20, "stickySessionTtl": 60}
    route = deployed.deploy("v2", revision=sent)["spec"]["revision"]
    canary, active = deployed.revisions()
    assert route == {
        "active": first,
        "canary": canary["id"],
        "canaryPercent": 20,
        "stickySessionTtl": 60,
    }
    assert (canary["canary"], canary["trafficPercent"]) == (True, 20)
    assert (active["active"], active["trafficPercent"]) == (True, 80)
    assert deployed.events()[-1]["canaryRevision"] == canary["id"]
    for number in range(3, 9):
        deployed.deploy(f"v{number}")
    kept = {one["id"] for one in deployed.revisions()}
    assert {first, canary["id"]} <= kept
    shown = deployed.get()
    shown["spec"]["revision"] |= {"active": canary["id"]}
    assert deployed.put(shown)["spec"]["revision"] == {
        "active": canary["id"],
        "stickySessionTtl": 60,
    }


@pytest.mark.parametrize(
    ("revision", "field"),
    [
        ({"active": "rev-unknown"}, "spec.revision.active"),
        ({"canary": "rev-unknown"}, "spec.revision.canary"),
        ({"canaryPercent": 10}, "spec.revision.canaryPercent"),
        ({"canaryPercent": 101}, "spec.revision.canaryPercent"),
        ({"traffic": -1}, "spec.revision.traffic"),
        ({"stickySessionTtl": -1}, "spec.revision.stickySessionTtl"),
    ],
)
def test_routes_are_checked(deployed: Deployment, revision: Any, field: str) -> None:
    answered = deployed.put(agent(deployed.name, "v2", revision=revision), 400)
    assert field in answered["message"]
    assert len(deployed.revisions()) == 1


def test_an_exported_agent_can_be_created_again(deployed: Deployment, api: httpx.Client) -> None:
    shown = deployed.get()
    api.delete(deployed.path)
    again = api.post("/v0/agents", json=shown).json()
    assert again["spec"]["revision"]["active"] != shown["spec"]["revision"]["active"]
    assert len(deployed.revisions()) == 1


def test_models_keep_revisions_without_a_choice(api: httpx.Client) -> None:
    for model in ("a", "b"):
        body = {"metadata": {"name": "chat"}, "spec": {"runtime": {"model": model}}}
        api.post("/v0/models", json=body)
        answered = api.put("/v0/models/chat", json=body).json()
    assert "revision" not in answered["spec"]
    listed = api.get("/v0/models/chat/revisions").json()
    assert [one["active"] for one in listed] == [True, False]
    assert api.get("/v0/models/other/revisions").status_code == 404
    assert api.get("/v0/policies/other/revisions").status_code == 404


def test_events_are_bounded_and_only_with_one_resource(deployed: Deployment) -> None:
    for number in range(60):
        deployed.deploy(f"w{number}")
    assert len(deployed.get()["events"]) == 50
    page = deployed.api.get("/v0/agents", params={"q": deployed.name}).json()
    assert all("events" not in item for item in page["data"])


def test_secrets_of_revisions_are_sealed(deployed: Deployment, server: Server) -> None:
    deployed.deploy("v2")
    for path in server.data_dir.glob("serai.db*"):
        assert b"secret-of-v" not in path.read_bytes()
    clear = deployed.get(show_secrets="true")["spec"]["runtime"]["envs"][0]["value"]
    assert clear == "secret-of-v2"
