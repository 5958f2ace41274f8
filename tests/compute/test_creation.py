"""Creating under load: one name, many callers, deletes in between, and little time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, update

from platform_server import KEY, Server
from serai.compute.kind import SANDBOXES
from serai.resources import documents
from serai.resources.store import DocumentStore
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.store.tables.sandboxes import sandboxes

from .conftest import create

pytestmark = pytest.mark.sandbox
CALLERS = 100


def ask(server: Server, name: str, query: str) -> tuple[int, dict[str, Any]]:
    with server.client_for(KEY) as client:
        body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
        response = client.post(f"/v0/sandboxes?createIfNotExist={query}", json=body)
        return response.status_code, response.json()


def together(server: Server, name: str, query: str = "true") -> list[tuple[int, dict[str, Any]]]:
    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(lambda _: ask(server, name, query), range(CALLERS)))


def test_a_hundred_callers_get_one_sandbox(api: httpx.Client, server: Server, name: str) -> None:
    answers = together(server, name)
    assert {status for status, _ in answers} == {200}
    assert all(body == answers[0][1] for _, body in answers)
    assert answers[0][1]["status"] == "DEPLOYED"
    listed = api.get("/v0/sandboxes", params={"q": name, "showTerminated": "true"}).json()["data"]
    assert [one["metadata"]["name"] for one in listed] == [name]


def test_without_the_flag_one_wins(server: Server, name: str) -> None:
    answers = together(server, name, "false")
    assert sorted(status for status, _ in answers) == [200] + [409] * (CALLERS - 1)
    refused = [body for status, body in answers if status == 409]
    assert {body["code"] for body in refused} == {"SANDBOX_ALREADY_EXISTS"}


def test_while_a_delete_is_under_way(api: httpx.Client, server: Server, name: str) -> None:
    old = create(api, name)
    api.put(f"/main/sandboxes/{name}/filesystem//tmp/old", json={"content": "x"})
    with ThreadPoolExecutor(1) as pool:
        deleted = pool.submit(api.delete, f"/v0/sandboxes/{name}")
        answers = together(server, name)
        assert deleted.result().json()["status"] == "TERMINATED"
    assert {status for status, _ in answers} == {200}
    stamps = [body["metadata"]["createdAt"] for _, body in answers]  # type: ignore[index]
    new = {stamp for stamp in stamps if stamp != old["metadata"]["createdAt"]}  # type: ignore[index]
    assert len(new) <= 1  # callers before the delete got the old one
    assert all(body["status"] == "DEPLOYED" for _, body in answers)
    made = ask(server, name, "true")[1]
    left = api.get(f"/main/sandboxes/{name}/filesystem//tmp/old")
    assert (made["status"], left.status_code) == ("DEPLOYED", 404)


def test_an_ended_one_is_replaced(api: httpx.Client, server: Server, name: str) -> None:
    first = create(api, name)
    api.delete(f"/v0/sandboxes/{name}")
    second = ask(server, name, "true")[1]
    assert second["status"] == "DEPLOYED"
    assert second["metadata"]["createdAt"] > first["metadata"]["createdAt"]  # type: ignore[index]


@pytest.mark.parametrize(("phase", "status"), [("creating", "DEPLOYING"), ("deleting", "DELETING")])
def test_what_a_crash_left_is_finished_first(
    new_server: Callable[[], Server], phase: str, status: str
) -> None:
    """The state is written as a crash leaves it: in the middle of a step."""
    server = new_server().start()
    create(server.client, "box")
    server.kill()
    _interrupt(server, phase, status)
    server.start()
    code, made = ask(server, "box", "true")
    assert (code, made["status"]) == (200, "DEPLOYED")
    done = server.client.post(
        "/main/sandboxes/box/process", json={"command": "echo up", "waitForCompletion": True}
    )
    assert done.json()["stdout"] == "up\n"


def _interrupt(server: Server, phase: str, status: str) -> None:
    db = Database(server.data_dir / "serai.db")
    db.open()
    store = DocumentStore(Vault.open(server.data_dir / "master.key"), server.url)

    def write(conn: Connection) -> None:
        document = documents.find(conn, "main", SANDBOXES.name, "box")
        assert document is not None
        store.with_status(conn, document, status, state=None)
        conn.execute(update(sandboxes).where(sandboxes.c.id == document.id).values(phase=phase))

    db.submit(write).result()
    db.close()


def test_creation_timeout(api: httpx.Client, name: str) -> None:
    body = {"metadata": {"name": name}, "spec": {"runtime": {"memory": 512}}}
    made = api.post("/v0/sandboxes", json=body, headers={"X-Blaxel-Creation-Timeout": "50"})
    assert made.json()["status"] == "DEPLOYED"
    for wrong in ("0", "51", "soon", "1.5"):
        headers = {"X-Blaxel-Creation-Timeout": wrong}
        refused = api.post("/v0/sandboxes", json=body, headers=headers)
        assert refused.status_code == 400
        assert "X-Blaxel-Creation-Timeout" in refused.json()["message"]
