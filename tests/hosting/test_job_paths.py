"""Executions on the inference path, as the CLI and plain HTTP clients ask for them."""

import httpx

from jobs_help import make, wait

OLD = {"Blaxel-Version": "2026-04-16"}


def test_executions_are_made_and_read_below_the_url_of_a_job(api: httpx.Client) -> None:
    make(api, "pathed", "true")
    url = api.get("/v0/jobs/pathed").json()["metadata"]["url"]
    made = api.post(f"{url}/executions", json={"tasks": [{"name": "Ada"}]})
    assert made.status_code == 200, made.text
    name = made.json()["executionId"]
    assert (made.json()["jobId"], made.json()["tasks"]) == ("pathed", [{"name": "Ada"}])
    wait(api, "pathed", name)
    own = api.get(f"/v0/jobs/pathed/executions/{name}").json()
    assert api.get(f"{url}/executions/{name}").json() == own
    assert api.get(f"/run/main/jobs/pathed/executions/{name}").json() == own
    listed = api.get(f"{url}/executions", params={"limit": 1}, headers=OLD).json()
    assert [one["executionId"] for one in listed] == [name]
    again = api.delete(f"{url}/executions/{name}")
    assert (again.status_code, again.json()["error"]) == (400, "EXECUTION_ENDED")


def test_the_path_says_which_workspace(api: httpx.Client) -> None:
    other = api.get("/else/jobs/pathed/executions", headers={"X-Blaxel-Workspace": "main"})
    assert other.status_code in {403, 404}, other.text
    assert "else" in other.json()["message"]
    named = api.get("/main/jobs/pathed/executions", headers={"X-Blaxel-Workspace": "else"})
    assert named.status_code in {200, 404}


def test_other_paths_of_a_job_lead_nowhere(api: httpx.Client) -> None:
    for path in ("/main/jobs/pathed", "/main/jobs/pathed/executionsx", "/main/jobs/x/y/executions"):
        assert api.get(path).status_code == 404, path


def test_nobody_comes_in_without_a_key(api: httpx.Client) -> None:
    with httpx.Client(base_url=api.base_url, trust_env=False) as client:
        refused = client.post("/main/jobs/pathed/executions", json={})
    assert refused.status_code == 401
