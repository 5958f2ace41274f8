"""The Python SDK on jobs, applications, volumes, their templates, and drives."""

import io
import tarfile
import uuid
from collections.abc import Callable
from typing import Any

import httpx
from blaxel.core.client import client
from blaxel.core.client.api.applications import (
    create_application,
    delete_application,
    get_application,
    list_applications,
    update_application,
)
from blaxel.core.client.api.drives import create_drive_access_token, get_drive_jwks
from blaxel.core.client.api.jobs import (
    create_job,
    delete_job,
    get_job,
    list_job_execution_tasks,
    list_jobs,
    update_job,
)
from blaxel.core.client.api.volume_templates import (
    create_volume_template,
    delete_volume_template,
    delete_volume_template_version,
    get_volume_template,
    list_volume_templates,
    update_volume_template,
)
from blaxel.core.client.api.volumes import get_volume_by_external_id, list_volumes
from blaxel.core.client.errors import UnexpectedStatus
from blaxel.core.client.models import Application, Error, Job, Volume, VolumeTemplate
from blaxel.core.client.pagination import get_page_data
from blaxel.core.drive import SyncDriveInstance
from blaxel.core.jobs import bl_job
from blaxel.core.volume import SyncVolumeInstance, VolumeAPIError

MARK = uuid.uuid4().hex[:8]


def main() -> None:
    jobs()
    applications()
    volumes()
    templates()
    drives()
    print("done")


def body(shape: Any, **spec: Any) -> Any:
    """The model of a resource."""
    return shape.from_dict({"metadata": {"name": f"c-{MARK}", "labels": {"m": MARK}}, "spec": spec})


STATUSES = {"queued", "pending", "running", "failed"}


def names(page: Any) -> list[str]:
    """The names in a list."""
    return [item.metadata.name for item in get_page_data(page)]


def status_of(call: Callable[[], Any]) -> int | None:
    """The status of the error that a call ends with."""
    try:
        call()
    except (UnexpectedStatus, VolumeAPIError) as problem:
        return problem.status_code
    return None


def jobs() -> None:
    name = f"c-{MARK}"
    runtime = {"image": "a:1", "memory": 2048, "generation": "mk3"}
    made = create_job.sync(client=client, body=body(Job, runtime=runtime))
    assert isinstance(made, Job), made
    found = get_job.sync(name, client=client)
    assert found.spec.runtime.memory == 2048
    assert update_job.sync(name, client=client, body=found).spec.runtime.image == "a:1"
    assert name in names(list_jobs.sync(client=client))
    job = bl_job(name)
    execution = job.run([{"n": 1}, {"n": 2}], env={"A": "secret"}, memory=1024)
    shown = job.get_execution(execution)
    assert (shown.metadata.id, shown.stats.total, shown.spec.timeout) == (execution, 2, 3600)
    assert shown.spec.env_override.to_dict() == {"A": "***"}
    assert job.get_execution_status(execution) in STATUSES  # nobody has its image
    assert [item.metadata.id for item in job.list_executions()] == [execution]
    tasks = list_job_execution_tasks.sync(name, execution, client=client, limit=1)
    assert [task.metadata.name for task in tasks.data] == ["task-0"]
    assert tasks.meta.has_more is True
    assert job.wait_for_execution(execution, max_wait=60, interval=1).status == "failed"
    assert isinstance(delete_job.sync(name, client=client), Job)


def applications() -> None:
    name = f"c-{MARK}"
    envs = [{"name": "KEY", "value": "s3", "secret": True}]
    made = create_application.sync(client=client, body=body(Application, image="a:1", envs=envs))
    assert isinstance(made, Application), made
    again = create_application.sync(client=client, body=body(Application, image="a:1"))
    assert isinstance(again, Error), again
    assert again.code == 409
    found = get_application.sync(name, client=client)
    assert (found.spec.image, found.spec.envs[0].name) == ("a:1", "KEY")
    assert isinstance(update_application.sync(name, client=client, body=found), Application)
    assert name in names(list_applications.sync(client=client))
    assert isinstance(delete_application.sync(name, client=client), Application)
    assert isinstance(get_application.sync(name, client=client), Error)


def volumes() -> None:
    name = f"c-{MARK}"
    wanted = {"name": name, "size": 512, "region": "us-pdx-1", "labels": {"m": MARK}}
    volume = SyncVolumeInstance.create_if_not_exists(wanted)
    same = SyncVolumeInstance.create_if_not_exists(wanted | {"size": 1})
    assert (volume.name, same.size) == (name, 512)
    assert volume.update({"size": 600}).size == 600
    assert status_of(lambda: volume.update({"size": 10})) == 400
    assert SyncVolumeInstance.get(name).size == 600
    listed = list_volumes.sync(client=client, q=MARK)
    assert names(listed) == [name]
    assert listed.data[0].state.attached_to == ""
    missing = get_volume_by_external_id.sync("nobody", client=client)
    assert isinstance(missing, Error), missing
    assert missing.code == 404
    volume.delete()
    assert status_of(lambda: SyncVolumeInstance.get(name)) == 404


def templates() -> None:
    name = f"c-{MARK}"
    wanted = body(VolumeTemplate, defaultSize=64)
    made = create_volume_template.sync_detailed(client=client, body=wanted, upload=True)
    assert made.parsed.state.status == "created", made
    assert httpx.put(made.headers["x-blaxel-upload-url"], content=archive()).status_code == 200
    more = update_volume_template.sync_detailed(
        name, client=client, body=wanted, upload=True, version="two"
    )
    assert httpx.put(more.headers["x-blaxel-upload-url"], content=archive()).status_code == 200
    found = get_volume_template.sync(name, client=client)
    assert (found.state.status, found.state.latest_version) == ("ready", "two")
    assert [version.status for version in found.versions] == ["READY", "READY"]
    assert name in [item.metadata.name for item in list_volume_templates.sync(client=client)]
    volume = SyncVolumeInstance.create({"name": name, "template": f"{name}:latest"})
    assert (volume.template, isinstance(volume.volume, Volume)) == (f"{name}:two", True)
    volume.delete()
    left = delete_volume_template_version.sync(name, "two", client=client)
    assert [version.name for version in left.template.versions] == ["1"]
    assert isinstance(delete_volume_template.sync(name, client=client), VolumeTemplate)


def archive() -> bytes:
    """A tar archive of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        info = tarfile.TarInfo("hello.txt")
        info.size = 5
        packed.addfile(info, io.BytesIO(b"hello"))
    return buffer.getvalue()


def drives() -> None:
    name = f"c-{MARK}"
    drive = SyncDriveInstance.create_if_not_exists({"name": name, "region": "us-was-1"})
    assert drive.region == "us-was-1"
    token = create_drive_access_token.sync(name, client=client)
    assert token.access_token.count(".") == 2
    assert (token.token_type, token.expires_in) == ("Bearer", 3600)
    assert len(get_drive_jwks.sync(client=client).keys) == 1
    assert name in [found.name for found in SyncDriveInstance.list()]
    assert drive.update({"display_name": "Second"}).display_name == "Second"
    drive.delete()


if __name__ == "__main__":
    main()
