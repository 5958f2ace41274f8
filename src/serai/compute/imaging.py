"""Images of sandboxes: what their names mean, and having them made before anything is written."""

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection

from serai.compute.deadline import CreationDeadline
from serai.compute.refusals import explain_start
from serai.kernel.errors import SeraiError
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.runtime.port import Runtime, RuntimeProblem, SandboxPlan
from serai.store.database import Database

IMAGE_SECONDS = 45.0
"""How long a creation without a deadline waits for its image to be made."""
_ANSWER_SECONDS = 0.5


class Imaging:
    """Images as the controller needs them."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime
        self.resolve: Callable[[Connection, str, str], str] = lambda _, __, name: name
        """From what a workspace names to what the runtime knows; put in from outside."""

    async def ready(self, workspace: str, body: Body, deadline: CreationDeadline | None) -> None:
        """Have a wanted sandbox's image made, for as long as its client waits.

        Raises:
            BadRequest: there is no such image.
            ServiceUnavailable: it is still being made, or that failed.
        """
        seconds = IMAGE_SECONDS if deadline is None else deadline.seconds - _ANSWER_SECONDS
        image = await self._image(workspace, body["spec"]["runtime"]["image"])
        try:
            await self._runtime.library.ready(image, seconds)
        except RuntimeProblem as problem:
            raise explain_start(problem, body) from problem

    async def resolved(self, workspace: str, plan: SandboxPlan) -> SandboxPlan:
        """The plan with the image that the runtime knows."""
        image = await self._image(workspace, plan.image)
        return msgspec.structs.replace(plan, image=image)

    def explained(self, problem: RuntimeProblem, document: Document) -> SeraiError:
        """What a client is told when the sandbox of a document cannot run."""
        return explain_start(problem, msgspec.json.decode(document.body))

    async def _image(self, workspace: str, reference: str) -> str:
        return await self._db.read(lambda conn: self.resolve(conn, workspace, reference))
