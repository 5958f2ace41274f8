"""The built-in builder: Python and Node.js projects, without any container engine."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from serai.build.failures import BuildFailed
from serai.build.node import is_node, node_plan
from serai.build.plans import ROOM, Plan
from serai.build.ports import Job
from serai.build.python import is_python, python_plan
from serai.build.repack import TOP
from serai.build.sources import Project
from serai.build.workshop import Room, Workshop
from serai.runtime.making import CACHED, MadeImage
from serai.runtime.port import ImageConfig

_VERSION = 1
"""Of what stages do: raised when layers of earlier versions are not to be used again."""
_IN, _OUT, _LIST, _MARK = ("/tmp/in.tar", "/tmp/out.tar", "/tmp/out.list", "/tmp/mark")  # noqa: S108
_TAKE_IN = f"tar -xf {_IN} -C / --no-same-owner && rm {_IN}"


class NativeBuilder:
    """See Builder."""

    name = "built-in"

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    def handles(self, project: Project) -> bool:
        """Whether it is Python or Node.js, as the official CLI tells them."""
        return is_python(project) or is_node(project)

    async def build(self, job: Job) -> MadeImage:
        """See Builder.build."""
        plan = python_plan(job.project) if is_python(job.project) else node_plan(job.project)
        job.say(f"{plan.language} project; starts with: {' '.join(plan.command)}")
        below = await self._dependencies(job, plan) if plan.install else plan.base
        archive = await self._prepared(job, plan, below) if plan.prepare else job.project.archive
        layer = await job.making.add_layer(archive)
        config = ImageConfig(
            entrypoint=plan.command if job.starts_itself else (),
            cmd=() if job.starts_itself else plan.command,
            env=plan.environment,
            workdir=ROOM,
        )
        return await job.making.compose(
            job.reference, below, [layer.id], config, f"{plan.language} project, build {job.id}"
        )

    async def _dependencies(self, job: Job, plan: Plan) -> str:
        """The image with the dependencies alone, made unless there is one for the same inputs."""
        reference = f"{CACHED}/{await self._key(job, plan)}:latest"
        if await job.making.find(reference) is not None:
            job.say("Dependencies have not changed: taking the layer of an earlier build")
            return reference
        target = job.project.work / "dependencies.tar"
        async with self._workshop.room(plan.base, job.limits, job.say) as room:
            await self._bring(room, job.project, plan.inputs)
            await self._steps(room, plan.install, plan.environment, job)
            job.say("Keeping the dependencies as a layer")
            await room.run(_kept_step(plan.kept), "/", {}, job.say)
            await room.take(_OUT, target)
        layer = await job.making.add_layer(target)
        target.unlink()
        job.say(f"Dependencies take {layer.size / (1 << 20):.1f} MiB")
        await job.making.compose(
            reference, plan.base, [layer.id], ImageConfig(workdir=ROOM), "dependencies of a build"
        )
        return reference

    async def _prepared(self, job: Job, plan: Plan, below: str) -> Path:
        """The project as it is after its own steps, as a tar file."""
        target = job.project.work / "prepared.tar"
        async with self._workshop.room(below, job.limits, job.say) as room:
            await self._bring(room, job.project, None)
            await room.run(f"touch {_MARK} && sleep 0.01", "/", {}, job.say)
            environment = plan.environment | job.project.arguments
            await self._steps(room, plan.prepare, environment, job)
            await room.run(_prepared_step(plan.kept), "/", {}, job.say)
            await room.take(_OUT, target)
        return target

    async def _bring(
        self, room: Room, project: Project, inputs: Mapping[str, bytes] | None
    ) -> None:
        archive = project.archive
        if inputs is not None:
            archive = project.work / "inputs.tar"
            await asyncio.to_thread(_write_tar, archive, inputs)
        await room.put(_IN, archive)
        await room.run(f"mkdir -p {ROOM} && {_TAKE_IN}", "/", {}, lambda line: None)

    async def _steps(
        self, room: Room, steps: tuple[str, ...], environment: Mapping[str, str], job: Job
    ) -> None:
        values = {**environment, **job.project.arguments}
        for step in steps:
            job.say(f"$ {step if len(step) < 200 else step[:197] + '…'}")
            await room.run(step, ROOM, values, job.say)

    async def _key(self, job: Job, plan: Plan) -> str:
        """Of the layer of dependencies: of all that decides what is in it."""
        base = await job.making.identity(plan.base)
        files: str | Mapping[str, bytes] | None = plan.inputs
        if files is None:
            files = await asyncio.to_thread(_digest, job.project.archive)
        values = sorted(job.project.arguments.items())
        made_of = (_VERSION, base, files, plan.install, plan.kept, plan.environment, values)
        return hashlib.sha256(msgspec.json.encode(made_of, order="sorted")).hexdigest()[:40]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_tar(target: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(target, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{TOP}/{name}")
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))


def _named(names: tuple[str, ...]) -> str:
    return "\\( " + " -o ".join(f"-name {name}" for name in names) + " \\)"


def _kept_step(names: tuple[str, ...]) -> str:
    """Pack the folders that the first stage made, wherever they are."""
    return (
        f"find {TOP} -type d {_named(names)} -prune -print0 > {_LIST} && "
        f"tar --sort=name --null -T {_LIST} -cf {_OUT}"
    )


def _prepared_step(names: tuple[str, ...]) -> str:
    """Pack the project, and in the folders of the first stage what is newer than the mark."""
    folders = _named(names)
    return (
        f"{{ find {TOP} -mindepth 1 -type d {folders} -prune -o -print0; "
        f"find {TOP} -type d {folders} -prune -exec find {{}} \\( -type f -o -type l \\) "
        f"-cnewer {_MARK} -print0 \\; ; }} > {_LIST} && "
        f"tar --no-recursion --null -T {_LIST} -cf {_OUT}"
    )


def refuse_unknown(project: Project) -> BuildFailed:
    """What to say of a project that no builder takes."""
    if "go.mod" in project.names:
        return BuildFailed("Go projects are built by a Dockerfile: add one to the project")
    shown = ", ".join(sorted(name for name in project.names if "/" not in name)[:12])
    return BuildFailed(
        "nothing says how to build this project: add a pyproject.toml, a requirements.txt, a "
        f"package.json or a Dockerfile. At its top are: {shown or 'no files'}"
    )
