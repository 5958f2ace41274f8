"""Which resources refer to a policy."""

import httpx

EMPTY = {"agents": 0, "functions": 0, "jobs": 0, "models": 0, "sandboxes": 0}


def test_usages(api: httpx.Client, stranger: httpx.Client) -> None:
    spec = {"type": "location", "locations": [{"type": "location", "name": "local"}]}
    for name in ("euro", "euro-2"):
        api.post("/v0/policies", json={"metadata": {"name": name}, "spec": spec})
    assert [item["usage"] for item in api.get("/v0/policies").json()["data"]] == [EMPTY, EMPTY]
    for kind, name, policies in (
        ("agents", "a1", ["euro"]),
        ("agents", "a2", ["euro-2", "euro"]),
        ("models", "m1", ["euro", "euro"]),
        ("functions", "f1", ["euro-2"]),
    ):
        body = {"metadata": {"name": name}, "spec": {"policies": policies}}
        assert api.post(f"/v0/{kind}", json=body).status_code == 200
    used = api.get("/v0/policies/euro/usages").json()
    assert used["agents"] == [{"name": "a1"}, {"name": "a2"}]
    assert (used["models"], used["functions"], used["jobs"]) == ([{"name": "m1"}], [], [])
    page = api.get("/v0/policies").json()
    usage = {item["metadata"]["name"]: item["usage"] for item in page["data"]}
    assert usage == {
        "euro": EMPTY | {"agents": 2, "models": 1},
        "euro-2": EMPTY | {"agents": 1, "functions": 1},
    }
    bare = api.get("/v0/policies", headers={"Blaxel-Version": "2026-04-16"}).json()
    assert {item["metadata"]["name"] for item in bare} == {"euro", "euro-2"}
    echoed = page["data"][0] | {"metadata": {"name": "euro"}}
    assert "usage" not in api.put("/v0/policies/euro", json=echoed).json()
    assert api.get("/v0/policies/none/usages").status_code == 404
    assert stranger.get("/v0/policies/euro/usages").status_code == 404
