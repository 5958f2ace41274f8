"""Volumes and drives in sandboxes, from the platform's side."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_server import Server
from serai.compute.mount_rules import granted, mount_path
from serai.kernel.errors import BadRequest
from serai.runtime.host import is_host_root
from serai.runtime.pool import formatter

needs_disks = [
    pytest.mark.sandbox,
    pytest.mark.skipif(
        not is_host_root() or formatter() is None,
        reason="needs root and mkfs.btrfs (btrfs-progs)",
    ),
]
numbers = itertools.count()


def sandbox(api: httpx.Client, name: str, *volumes: Any, **labels: str) -> httpx.Response:
    """Ask for a sandbox with volumes."""
    spec = {"runtime": {"memory": 512}, "volumes": list(volumes)}
    body = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    return api.post("/v0/sandboxes", json=body)


def run(api: httpx.Client, name: str, command: str) -> str:
    """Run a command that must succeed."""
    body = {"command": command, "waitForCompletion": True}
    answer = api.post(f"/main/sandboxes/{name}/process", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["exitCode"] == 0, said
    return str(said["logs"]).strip()


def mount(api: httpx.Client, sandbox: str, drive: str, path: str, **more: Any) -> httpx.Response:
    """Ask for a drive in a sandbox."""
    body = {"driveName": drive, "mountPath": path} | more
    return api.post(f"/main/sandboxes/{sandbox}/drives/mount", json=body)


def end_sandboxes(api: httpx.Client) -> None:
    """They go before what is mounted in them."""
    for each in api.get("/v0/sandboxes").json()["data"]:
        api.delete(f"/v0/sandboxes/{each['metadata']['name']}")


@pytest.fixture
def volume(api: httpx.Client) -> Iterator[str]:
    """A volume of 64 MB."""
    name = f"vol-{next(numbers)}"
    made = api.post("/v0/volumes", json={"metadata": {"name": name}, "spec": {"size": 64}})
    assert made.status_code == 200, made.text
    yield name
    end_sandboxes(api)
    api.delete(f"/v0/volumes/{name}")


@pytest.fixture
def drive(api: httpx.Client) -> Iterator[str]:
    """A drive that everyone may use."""
    name = f"drive-{next(numbers)}"
    assert api.post("/v0/drives", json={"metadata": {"name": name}, "spec": {}}).status_code == 200
    yield name
    end_sandboxes(api)
    api.delete(f"/v0/drives/{name}")


@pytest.fixture
def other(api: httpx.Client, name: str) -> Iterator[str]:
    """The name of a second sandbox."""
    yield f"{name}-b"
    api.delete(f"/v0/sandboxes/{name}-b")


class TestVolumes:
    """Volumes."""

    pytestmark = needs_disks

    def test_a_volume_has_one_user_and_keeps_its_files(
        self, api: httpx.Client, name: str, other: str, volume: str
    ) -> None:
        attached = {"name": volume, "mountPath": "/data//x/"}
        made = sandbox(api, name, attached)
        assert made.status_code == 200, made.text
        assert made.json()["spec"]["volumes"] == [{"name": volume, "mountPath": "/data/x"}]
        run(api, name, "echo kept > /data/x/note")
        shown = api.get(f"/v0/volumes/{volume}").json()
        assert shown["state"] == {"attachedTo": f"sandbox:{name}"}
        refused = sandbox(api, other, attached)
        assert (refused.status_code, refused.json()["code"]) == (409, "VOLUME_ATTACHED")
        assert f"sandbox:{name}" in refused.json()["message"]
        assert api.delete(f"/v0/volumes/{volume}").status_code == 409
        assert api.delete(f"/v0/sandboxes/{name}").status_code == 200
        assert api.get(f"/v0/volumes/{volume}").json()["state"] == {"attachedTo": ""}
        assert sandbox(api, other, attached | {"readOnly": True}).status_code == 200
        assert run(api, other, "cat /data/x/note; touch /data/x/y 2>&1 | grep -o 'Read-only'") == (
            "kept\nRead-only"
        )

    def test_of_many_who_want_a_volume_one_gets_it(self, api: httpx.Client, volume: str) -> None:
        names = [f"race-{number}" for number in range(6)]
        attached = {"name": volume, "mountPath": "/data"}
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda each: sandbox(api, each, attached), names))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
        for each in names:
            api.delete(f"/v0/sandboxes/{each}")

    def test_a_volume_grows_under_a_running_sandbox(
        self, api: httpx.Client, name: str, volume: str
    ) -> None:
        assert sandbox(api, name, {"name": volume, "mountPath": "/data"}).status_code == 200
        size = "df -m /data | tail -1 | awk '{print $2}'"
        assert run(api, name, size) == "64"
        for wanted, status in ((300, 200), (200, 400), (9_000_000, 409)):
            body = {"metadata": {}, "spec": {"size": wanted}}
            assert api.put(f"/v0/volumes/{volume}", json=body).status_code == status
        assert api.get(f"/v0/volumes/{volume}").json()["spec"]["size"] == 300
        assert run(api, name, size) == "300"

    def test_an_ephemeral_volume_ends_with_its_sandbox(
        self, api: httpx.Client, server: Server, name: str
    ) -> None:
        scratch = {"name": "s", "type": "ephemeral", "sizeMb": 32, "mountPath": "/scratch"}
        assert sandbox(api, name, scratch).status_code == 200
        run(api, name, "echo x > /scratch/x; df -m /scratch | grep -q 32")
        assert list((server.data_dir / "volumes").glob("*.0.img"))
        api.delete(f"/v0/sandboxes/{name}")
        for _ in range(100):
            if not list((server.data_dir / "volumes").glob("*.0.img")):
                return
            time.sleep(0.05)
        assert not list((server.data_dir / "volumes").glob("*.0.img"))

    def test_deleting_a_volume_frees_the_disk(
        self, api: httpx.Client, server: Server, name: str, volume: str
    ) -> None:
        before = set((server.data_dir / "volumes").glob("*.img"))
        assert sandbox(api, name, {"name": volume, "mountPath": "/data"}).status_code == 200
        assert len(set((server.data_dir / "volumes").glob("*.img")) - before) == 1
        api.delete(f"/v0/sandboxes/{name}")
        assert api.delete(f"/v0/volumes/{volume}").status_code == 200
        assert set((server.data_dir / "volumes").glob("*.img")) == before

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({"name": "none-such", "mountPath": "/data"}, "no volume named 'none-such'"),
            ({"name": "x", "mountPath": "/proc/x"}, "spec.volumes[0].mountPath"),
            ({"name": "x", "mountPath": "data"}, "spec.volumes[0].mountPath"),
            ({"name": "x"}, "spec.volumes[0].mountPath"),
            ({"mountPath": "/data"}, "spec.volumes[0].name"),
            ({"name": "x", "type": "ephemeral", "mountPath": "/d"}, "spec.volumes[0].sizeMb"),
            ({"name": "x", "type": "other", "mountPath": "/d"}, "spec.volumes[0].type"),
        ],
    )
    def test_rules(self, api: httpx.Client, name: str, wanted: Any, message: str) -> None:
        refused = sandbox(api, name, wanted)
        assert refused.status_code == 400, refused.text
        assert message in refused.json()["message"]

    def test_regions_must_agree(self, api: httpx.Client, name: str) -> None:
        body = {"metadata": {"name": f"{name}-v"}, "spec": {"size": 16, "region": "eu-lon-1"}}
        api.post("/v0/volumes", json=body)
        spec = {"region": "us-pdx-1", "volumes": [{"name": f"{name}-v", "mountPath": "/data"}]}
        refused = api.post("/v0/sandboxes", json={"metadata": {"name": name}, "spec": spec})
        assert (refused.status_code, "region" in refused.json()["message"]) == (400, True)
        api.delete(f"/v0/volumes/{name}-v")

    def test_volumes_stay_as_they_are(self, api: httpx.Client, name: str, volume: str) -> None:
        made = sandbox(api, name, {"name": volume, "mountPath": "/data"}).json()
        wanted = {"metadata": {"labels": {"a": "b"}}, "spec": {"runtime": made["spec"]["runtime"]}}
        kept = api.put(f"/v0/sandboxes/{name}", json=wanted)
        assert kept.json()["spec"]["volumes"] == made["spec"]["volumes"]
        wanted["spec"]["volumes"] = [{"name": volume, "mountPath": "/elsewhere"}]
        refused = api.put(f"/v0/sandboxes/{name}", json=wanted)
        assert (refused.status_code, "spec.volumes" in refused.json()["message"]) == (400, True)


class TestDrives:
    """Drives."""

    pytestmark = needs_disks

    def test_a_drive_is_mounted_listed_and_unmounted(
        self, api: httpx.Client, name: str, other: str, drive: str
    ) -> None:
        for each in (name, other):
            assert sandbox(api, each).status_code == 200
        mounted = mount(api, name, drive, "mnt/d/")
        wanted = {"driveName": drive, "mountPath": "/mnt/d", "drivePath": "/", "readOnly": False}
        success = {"success": True, "message": "Drive mounted successfully"}
        assert (mounted.status_code, mounted.json()) == (200, wanted | success)
        assert mount(api, name, drive, "/mnt/d").status_code == 200
        base = f"/main/sandboxes/{name}/drives/mount"
        assert api.get(base).json() == {"mounts": [wanted]}
        run(api, name, "mkdir /mnt/d/sub; echo shared > /mnt/d/sub/file")
        assert mount(api, other, drive, "/d", drivePath="/sub", readOnly=True).status_code == 200
        assert run(api, other, "cat /d/file; touch /d/x 2>/dev/null || echo no") == "shared\nno"
        refused = api.delete(f"/v0/drives/{drive}")
        assert (refused.status_code, refused.json()["error"]) == (409, "DRIVE_MOUNTED")
        assert api.get(f"/v0/drives/{drive}/folders").json() == [{"name": "sub", "path": "/sub"}]
        gone = api.delete(f"{base}/mnt/d")
        assert (gone.status_code, gone.json()["mountPath"]) == (200, "/mnt/d")
        assert api.delete(f"{base}/mnt/d").status_code == 500
        assert api.get(base).json() == {"mounts": []}
        assert run(api, name, "ls /mnt/d") == ""

    def test_permissions(self, api: httpx.Client, name: str, drive: str) -> None:
        rules = [
            {"labels": {"team": "a", "tier": "x"}, "mode": "read-write"},
            {"labels": {"team": "b"}, "mode": "read"},
            {"labels": {"team": "b"}, "mode": "read-write", "path": "/free"},
        ]
        body = {"metadata": {"name": drive}, "spec": {"permissions": rules[:2]}}
        assert api.put(f"/v0/drives/{drive}", json=body).status_code == 200
        assert sandbox(api, name, team="b").status_code == 200
        assert mount(api, name, drive, "/d").json()["readOnly"] is True
        assert run(api, name, "touch /d/x 2>/dev/null || echo no") == "no"
        body["spec"] = {"permissions": [rules[0]]}
        assert api.put(f"/v0/drives/{drive}", json=body).status_code == 200
        refused = mount(api, name, drive, "/e")
        assert (refused.status_code, "Permission denied" in refused.json()["error"]) == (400, True)
        body["spec"] = {"permissions": [rules[2]]}
        assert api.put(f"/v0/drives/{drive}", json=body).status_code == 200
        assert mount(api, name, drive, "/e").status_code == 400
        assert mount(api, name, drive, "/e", drivePath="/freedom").status_code == 400
        assert mount(api, name, drive, "/e", drivePath="/free/in").json()["readOnly"] is False

    @pytest.mark.parametrize(
        ("body", "status", "message"),
        [
            ({"driveName": "none", "mountPath": "/d"}, 400, "no drive 'none'"),
            ({"driveName": "../x", "mountPath": "/d"}, 400, "driveName"),
            ({"driveName": "DRIVE", "mountPath": "/proc"}, 400, "mountPath"),
            ({"driveName": "DRIVE", "mountPath": "/a/../b"}, 400, "mountPath"),
            ({"driveName": "DRIVE", "mountPath": "/d", "drivePath": "/../x"}, 400, "drivePath"),
            ({"driveName": "DRIVE", "mountPath": "/d", "drivePath": "x"}, 400, "drivePath"),
            ({"driveName": "DRIVE", "mountPath": "/link"}, 500, "is a link"),
            ({"driveName": "DRIVE", "mountPath": "/taken"}, 409, "already in use"),
            ({"driveName": "DRIVE"}, 400, "mountPath"),
            ([], 400, "invalid request body"),
        ],
    )
    def test_rules(
        self, api: httpx.Client, name: str, drive: str, body: Any, status: int, message: str
    ) -> None:
        sandbox(api, name)
        run(api, name, "ln -s /etc /link")
        mount(api, name, drive, "/taken", drivePath="/other")
        if body:
            body = body | {"driveName": body["driveName"].replace("DRIVE", drive)}
        refused = api.post(f"/main/sandboxes/{name}/drives/mount", json=body)
        assert refused.status_code == status, refused.text
        assert message in refused.json()["error"]
        listed = api.get(f"/main/sandboxes/{name}/drives/mount").json()["mounts"]
        assert [each["mountPath"] for each in listed] == ["/taken"]

    def test_others_do_not_see_them(self, api: httpx.Client, server: Server, name: str) -> None:
        sandbox(api, name)
        with server.client_for("bl_none") as stranger:
            assert stranger.get(f"/main/sandboxes/{name}/drives/mount").status_code == 401
        assert api.get("/main/sandboxes/none-such/drives/mount").status_code == 404
        big = api.post(f"/main/sandboxes/{name}/drives/mount", content=b"x" * 100_000)
        assert big.status_code == 413
        assert api.patch(f"/main/sandboxes/{name}/drives/mount").status_code == 405


@pytest.mark.sandbox
@pytest.mark.skipif(not is_host_root() or formatter() is None, reason="needs root and mkfs.btrfs")
def test_disks_outlive_the_server_and_leave_nothing(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_SANDBOX_DISK_MB="64").start()
    api = server.client
    api.post("/v0/volumes", json={"metadata": {"name": "v"}, "spec": {"size": 64}})
    api.post("/v0/drives", json={"metadata": {"name": "d"}, "spec": {}})
    assert sandbox(api, "box", {"name": "v", "mountPath": "/v"}).status_code == 200
    assert mount(api, "box", "d", "/d", drivePath="/in").status_code == 200
    run(api, "box", "echo kept | tee /v/x /d/x > /root/x")
    for end in (server.kill, server.stop):
        end()
        assert str(server.data_dir) not in Path("/proc/self/mountinfo").read_text()
        server.start()
        assert run(api, "box", "cat /v/x /d/x /root/x") == "kept\nkept\nkept"
    full = "dd if=/dev/zero of=/root/flood bs=1M count=100 2>&1 | grep -o 'quota exceeded'"
    assert run(api, "box", full) == "quota exceeded"
    assert "no limit" not in api.get("/health").json()["isolation"]
    assert api.delete("/v0/sandboxes/box").status_code == 200
    server.kill()
    for _ in range(500):
        if not _loops_below(server.data_dir):
            break
        time.sleep(0.02)
    assert not _loops_below(server.data_dir)


@pytest.mark.sandbox
@pytest.mark.skipif(not is_host_root() or formatter() is None, reason="needs root and mkfs.btrfs")
def test_a_server_that_dies_while_attaching(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    volume = {"metadata": {"name": "v"}, "spec": {"size": 64}}
    assert server.client.post("/v0/volumes", json=volume).status_code == 200
    assert sandbox(server.client, "first").status_code == 200  # waits for a look at the host
    assert server.client.delete("/v0/sandboxes/first").status_code == 200
    for number, moment in enumerate((0.0, 0.03, 0.08)):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(sandbox, server.client, "box", {"name": "v", "mountPath": "/v"})
            time.sleep(moment)
            server.kill()
            assert isinstance(asked.exception(), httpx.TransportError | None)
        api = server.start().client
        again = sandbox(api, "box", {"name": "v", "mountPath": "/v"})
        assert again.status_code in {200, 409}, again.text
        run(api, "box", f"echo {number} >> /v/log")
        assert api.delete("/v0/sandboxes/box").status_code == 200
    assert sandbox(api, "box", {"name": "v", "mountPath": "/v"}).status_code == 200
    assert run(api, "box", "cat /v/log") == "0\n1\n2"
    assert {path.suffix for path in (server.data_dir / "volumes").iterdir()} <= {".img", ""}


def _loops_below(folder: Path) -> list[str]:
    found = [
        path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")
    ]
    return [path for path in found if path.startswith(str(folder))]


SEGMENTS = st.lists(
    st.sampled_from(["", ".", "..", "a", "b c", "proc", "dev", "etc", "usr", "mnt", "\n", "ä"]),
    max_size=6,
)


@given(SEGMENTS, st.booleans())
def test_places_are_in_shortest_form_and_never_of_the_system(
    names: list[str], rooted: bool
) -> None:
    text = ("/" if rooted else "") + "/".join(names)
    try:
        path = mount_path(text, "mountPath")
    except BadRequest:
        return
    parts = path.split("/")[1:]
    assert path == mount_path(path, "again")
    assert not {"", ".", ".."} & set(parts)
    assert parts[0] not in {"proc", "sys", "dev"}
    assert [name for name in names if name not in {"", "."}] == parts


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
FOLDERS = st.sampled_from(["/", "/a", "/ab", "/a/b", "/b"])
RULES = st.lists(
    st.fixed_dictionaries(
        {"labels": LABELS, "mode": st.sampled_from(["read", "read-write"]), "path": FOLDERS}
    ),
    min_size=1,
    max_size=3,
)


@given(RULES, LABELS, FOLDERS)
def test_the_first_permission_that_fits_counts(
    rules: list[dict[str, Any]], labels: dict[str, str], folder: str
) -> None:
    fitting = [
        rule["mode"]
        for rule in rules
        if all(labels.get(key) == value for key, value in rule["labels"].items())
        and (folder + "/").startswith(rule["path"].rstrip("/") + "/")
    ]
    assert granted(rules, labels, folder) == (fitting[0] if fitting else None)
    assert granted([], labels, folder) == "read-write"
