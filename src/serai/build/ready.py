"""Images that are made already: an OCI layout in the upload, or one in a registry."""

import asyncio
import tarfile
from pathlib import Path

from serai.build.failures import BuildFailed
from serai.build.ports import Job
from serai.build.repack import TOP
from serai.build.sources import Project
from serai.runtime.making import MadeImage
from serai.runtime.port import ImageConfig, ImageNotReady, Library, RuntimeProblem

_WAIT_SECONDS = 20.0
_FILES = frozenset({"blaxel.toml", ".blaxelignore", "README.md"})


class LayoutBuilder:
    """An upload that is an OCI image layout itself, as ``skopeo copy … oci-archive:`` makes it."""

    name = "OCI layout"

    def handles(self, project: Project) -> bool:
        """Whether it is one."""
        return {"oci-layout", "index.json"} <= project.names

    async def build(self, job: Job) -> MadeImage:
        """See Builder.build."""
        job.say("The upload is an image in OCI layout: taking it as it is")
        folder = job.project.work / "layout"
        await asyncio.to_thread(extract, job.project.archive, folder)
        return await job.making.take_in(
            job.reference, folder / TOP, job.say, as_command=not job.starts_itself
        )


class RegistryBuilder:
    """A project of nothing but ``blaxel.toml`` with an ``image`` of a registry.

    Args:
        library: pulls it, by the rules of all images.
    """

    name = "registry"

    def __init__(self, library: Library) -> None:
        self._library = library

    def handles(self, project: Project) -> bool:
        """Whether an image is all that the project says."""
        return bool(project.names) and project.names <= _FILES and _image(project) != ""

    async def build(self, job: Job) -> MadeImage:
        """See Builder.build."""
        image = _image(job.project)
        job.say(f"Taking the image {image}")
        while True:
            try:
                await self._library.ready(image, _WAIT_SECONDS)
                break
            except ImageNotReady as waiting:
                job.say(waiting.progress)
        said = await self._library.config(image)
        command = (*said.entrypoint, *said.cmd)
        config = ImageConfig(
            entrypoint=said.entrypoint if job.starts_itself else (),
            cmd=said.cmd if job.starts_itself else command,
            env=said.env,
            workdir=said.workdir,
            user=said.user,
            ports=said.ports,
        )
        return await job.making.compose(job.reference, image, (), config, f"registry image {image}")


def _image(project: Project) -> str:
    found = project.toml("blaxel.toml").get("image")
    return found if isinstance(found, str) else ""


def extract(archive: Path, folder: Path) -> None:
    """Unpack a repacked archive into a new folder.

    Raises:
        BuildFailed: something leads out of it after all.
        RuntimeProblem: the disk is full.
    """
    folder.mkdir(mode=0o700)
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except tarfile.FilterError as problem:
        raise BuildFailed(f"the archive is not usable: {problem}") from None
    except OSError as problem:
        raise RuntimeProblem(f"the upload cannot be unpacked: {problem}") from problem
