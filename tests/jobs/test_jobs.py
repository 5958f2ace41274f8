"""Jobs and applications over HTTP: life, defaults, rules and secrets."""

from typing import Any

import httpx
import pytest

OLD = {"Blaxel-Version": "2026-04-16"}


def sent(spec: dict[str, Any]) -> dict[str, Any]:
    """What a client decides in a spec; which revision serves is for other tests."""
    return {key: value for key, value in spec.items() if key != "revision"}


def lasting(body: dict[str, Any]) -> dict[str, Any]:
    """A resource without its history."""
    return {key: value for key, value in body.items() if key != "events"}


def test_the_life_of_a_job(api: httpx.Client, name: str) -> None:
    runtime = {"image": "job/a:1", "memory": 2048, "maxRetries": 2, "generation": "mk3"}
    body = {"metadata": {"name": name, "labels": {"a": "b"}}, "spec": {"runtime": runtime}}
    created = api.post("/v0/jobs", json=body)
    assert created.status_code == 200, created.text
    spec, metadata = created.json()["spec"], created.json()["metadata"]
    assert sent(spec) == {"enabled": True, "runtime": runtime}
    assert created.json()["status"] == "DEACTIVATED"
    assert metadata["url"].endswith(f"/main/jobs/{name}")
    assert lasting(api.get(f"/v0/jobs/{name}").json()) == created.json()
    assert api.post("/v0/jobs", json=body).json()["error"] == "JOB_ALREADY_EXISTS"
    listed = api.get("/v0/jobs", params={"q": name}).json()
    assert [item["metadata"]["name"] for item in listed["data"]] == [name]
    assert isinstance(api.get("/v0/jobs", headers=OLD).json(), list)
    changed = api.put(f"/v0/jobs/{name}", json=created.json() | {"spec": {"enabled": False}})
    assert sent(changed.json()["spec"]) == {"enabled": False}
    assert api.delete(f"/v0/jobs/{name}").json()["metadata"]["name"] == name
    for answer in (api.get(f"/v0/jobs/{name}"), api.delete(f"/v0/jobs/{name}")):
        assert (answer.status_code, answer.json()["code"]) == (404, 404)


def test_triggers_get_ids_and_keep_no_secret_of_the_client(api: httpx.Client, name: str) -> None:
    cron = {"schedule": "*/5 0-6,22 * jan-mar mon,fri", "tasks": [{"n": 1}]}
    triggers = [
        {"type": "cron", "configuration": cron},
        {"type": "http", "id": "mine"},
        {"type": "http-async", "id": "mine", "configuration": {"callbackSecret": "x"}},
    ]
    body = {"metadata": {"name": name}, "spec": {"triggers": triggers}}
    stored = api.post("/v0/jobs", json=body).json()["spec"]["triggers"]
    assert [trigger["id"] for trigger in stored] == ["trigger-1", "mine", "mine-2"]
    assert stored[0]["configuration"] == cron
    assert "callbackSecret" not in stored[2]["configuration"]
    again = api.put(f"/v0/jobs/{name}", json={"metadata": {}, "spec": {"triggers": stored}})
    assert again.json()["spec"]["triggers"] == stored


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"runtime": {"memory": 1}}, "spec.runtime.memory"),
        ({"runtime": {"timeout": 0}}, "spec.runtime.timeout"),
        ({"runtime": {"maxRetries": -1}}, "spec.runtime.maxRetries"),
        ({"runtime": {"diskPercent": 96}}, "spec.runtime.diskPercent"),
        ({"runtime": {"generation": "mk9"}}, "spec.runtime.generation"),
        ({"runtime": {"envs": [{"name": "A"}, {"name": "A"}]}}, "spec.runtime.envs"),
        ({"policies": ["No Name"]}, "spec.policies"),
        ({"revision": {"canaryPercent": 101}}, "spec.revision.canaryPercent"),
        ({"githubRunner": {"repositories": ["nope"]}}, "spec.githubRunner.repositories"),
        ({"triggers": [{"type": "never"}]}, "spec.triggers"),
        ({"triggers": [{"type": "cron"}]}, "spec.triggers[0].configuration.schedule"),
        *(
            ({"triggers": [{"type": "cron", "configuration": {"schedule": cron}}]}, "schedule")
            for cron in ("", "* * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "x * * * *")
        ),
        ({"triggers": [{"type": "http", "configuration": {"tasks": [1]}}]}, "tasks"),
        (
            {"volumes": [{"name": "v", "mountPath": "x", "type": "ephemeral", "sizeMb": 1}]},
            "spec.volumes[0].mountPath",
        ),
        (
            {"volumes": [{"name": "v", "mountPath": "/x", "type": "persistent", "sizeMb": 1}]},
            "spec.volumes[0].type",
        ),
        (
            {"volumes": [{"name": "v", "mountPath": "/x", "type": "ephemeral", "sizeMb": 0}]},
            "spec.volumes[0].sizeMb",
        ),
    ],
)
def test_rules_of_jobs(api: httpx.Client, name: str, spec: Any, field: str) -> None:
    response = api.post("/v0/jobs", json={"metadata": {"name": name}, "spec": spec})
    assert response.status_code == 400, response.text
    assert field in response.json()["message"]


def test_the_life_of_an_application(api: httpx.Client, name: str) -> None:
    urls = [{"domain": "app.example.com"}, {"domain": "*.example.org", "subdomain": "www"}]
    body = {"metadata": {"name": name}, "spec": {"image": "app/a:1", "urls": urls}}
    created = api.post("/v0/applications", json=body)
    assert created.status_code == 200, created.text
    assert sent(created.json()["spec"]) == {"enabled": True, "image": "app/a:1", "urls": urls}
    assert created.json()["status"] == "DEACTIVATED"
    assert api.post("/v0/applications", json=body).json()["code"] == 409
    [listed] = api.get("/v0/applications", params={"q": name}).json()["data"]
    assert listed | {"status": ""} == created.json() | {"status": ""}  # it is being deployed
    assert isinstance(api.get("/v0/applications", headers=OLD).json(), list)
    wanted = {"metadata": {}, "spec": {"memory": 512, "port": 80}}
    assert api.put(f"/v0/applications/{name}", json=wanted).json()["spec"]["memory"] == 512
    assert api.delete(f"/v0/applications/{name}").json()["metadata"]["name"] == name
    assert api.get(f"/v0/applications/{name}").status_code == 404


def test_an_application_sent_as_a_revision(api: httpx.Client, name: str) -> None:
    revision = {"image": "a:1", "memory": 512, "port": 80, "envs": [{"name": "A", "value": "b"}]}
    body = {"metadata": {"name": name}, "spec": {"revisions": [revision]}}
    spec = sent(api.post("/v0/applications", json=body).json()["spec"])
    assert spec == {"enabled": True, "revisions": [revision]} | revision
    wanted = {"metadata": {}, "spec": spec | {"image": "a:2"}}
    changed = api.put(f"/v0/applications/{name}", json=wanted).json()["spec"]
    assert sent(changed) == {"enabled": True} | revision | {"image": "a:2"}


def test_secret_variables_are_masked_and_kept(api: httpx.Client, name: str) -> None:
    secret = {"name": "KEY", "value": "s3cret-value", "secret": True}
    for kind, spec in (
        ("jobs", {"runtime": {"envs": [secret]}}),
        ("applications", {"envs": [secret]}),
        ("applications", {"revisions": [{"image": "a:1", "envs": [secret]}]}),
    ):
        path = f"/v0/{kind}/{name}"
        created = api.post(f"/v0/{kind}", json={"metadata": {"name": name}, "spec": spec})
        assert (created.status_code, "-value" in created.text) == (200, False)
        assert "s3cret-value" in api.get(f"{path}?show_secrets=true").text
        assert "-value" not in api.put(path, json=created.json()).text
        assert "s3cret-value" in api.get(f"{path}?show_secrets=true").text
        api.delete(path)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"memory": 5}, "spec.memory"),
        ({"port": 70000}, "spec.port"),
        ({"envs": [{"name": "A"}, {"name": "A"}]}, "spec.envs"),
        ({"revisions": [{"image": "a", "memory": 5}]}, "spec.revisions[0].memory"),
        ({"revisions": [{"memory": 512}]}, "spec.revisions[0]"),
        ({"revisions": [{"image": "a"}] * 6}, "spec.revisions"),
        ({"revision": {"canaryPercent": -1}}, "spec.revision.canaryPercent"),
        ({"extensions": {"x": {"sandbox": "No Name"}}}, "spec.extensions"),
        ({"urls": [{"domain": "nodots"}]}, "spec.urls[0].domain"),
        ({"urls": [{"domain": "a.example.com/x"}]}, "spec.urls[0].domain"),
        ({"urls": [{"domain": "a.com", "subdomain": "-x"}]}, "spec.urls[0].subdomain"),
        ({"urls": [{"domain": "a.com"}, {"domain": "a.com"}]}, "spec.urls[1]"),
    ],
)
def test_rules_of_applications(api: httpx.Client, name: str, spec: Any, field: str) -> None:
    response = api.post("/v0/applications", json={"metadata": {"name": name}, "spec": spec})
    assert response.status_code == 400, response.text
    assert field in response.json()["message"]
