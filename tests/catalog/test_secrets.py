"""Secrets of a workspace are written and never shown."""

import httpx
import pytest

from platform_server import Server
from serai.catalog.secrets import SecretStore
from serai.store.database import Database
from serai.store.secrets import Vault


def read(server: Server, name: str) -> str | None:
    """The value that the platform itself would use."""
    database = Database(server.data_dir / "serai.db")
    store = SecretStore(Vault.open(server.data_dir / "master.key"))
    with database._engine.begin() as conn:
        return store.resolve(conn, "main", name)


def test_the_life_of_a_secret(api: httpx.Client, stranger: httpx.Client, server: Server) -> None:
    made = api.post("/v0/secrets", json={"name": "STRIPE_KEY", "value": "sk-very-hidden-1"})
    assert made.status_code == 200
    assert set(made.json()) == {"name", "createdAt", "updatedAt"}
    again = api.post("/v0/secrets", json={"name": "STRIPE_KEY", "value": "sk-very-hidden-2"})
    assert again.json()["createdAt"] == made.json()["createdAt"]
    api.post("/v0/secrets", json={"name": "stripe_key", "value": "other"})
    listed = api.get("/v0/secrets")
    assert [secret["name"] for secret in listed.json()] == ["STRIPE_KEY", "stripe_key"]
    assert "hidden" not in listed.text + made.text + again.text
    assert read(server, "STRIPE_KEY") == "sk-very-hidden-2"
    files = [*server.data_dir.glob("serai.db*"), server.log]
    assert all(b"sk-very-hidden" not in file.read_bytes() for file in files)
    assert stranger.get("/v0/secrets").json() == []
    assert stranger.delete("/v0/secrets/STRIPE_KEY").status_code == 404
    assert api.delete("/v0/secrets/STRIPE_KEY").json()["name"] == "STRIPE_KEY"
    assert api.delete("/v0/secrets/STRIPE_KEY").json()["error"] == "SECRET_NOT_FOUND"
    assert api.delete("/v0/secrets?name=stripe_key").json()["name"] == "stripe_key"
    assert api.delete("/v0/secrets").status_code == 400
    assert read(server, "STRIPE_KEY") is None


def test_names_with_slashes_are_deleted_by_query(api: httpx.Client) -> None:
    api.post("/v0/secrets", json={"name": "team/key", "value": "x"})
    assert api.delete("/v0/secrets", params={"name": "team/key"}).status_code == 200


def test_many_versions(api: httpx.Client, server: Server) -> None:
    for number in range(15):
        api.post("/v0/secrets", json={"name": "MANY", "value": f"v{number}"})
    assert read(server, "MANY") == "v14"
    api.delete("/v0/secrets/MANY")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "", "value": "x"}, "name"),
        ({"name": "a b", "value": "x"}, "name"),
        ({"name": "{{x}}", "value": "x"}, "name"),
        ({"name": "x" * 200, "value": "x"}, "name"),
        ({"name": "x"}, "value"),
        ({"name": "x", "value": ""}, "value"),
        ({"name": "x", "value": "y" * 70000}, "value"),
        ({"name": "x", "value": 3}, "value"),
        ({"value": "x"}, "name"),
    ],
)
def test_rules_name_the_field(api: httpx.Client, body: dict[str, object], field: str) -> None:
    answer = api.post("/v0/secrets", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["message"]
