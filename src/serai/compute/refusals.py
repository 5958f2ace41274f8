"""Why a sandbox cannot be started or replaced as wanted."""

import msgspec

from serai.kernel.errors import BadRequest, ServiceUnavailable
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.runtime.port import RuntimeProblem, UnknownImage


def explain_start(
    problem: RuntimeProblem, document: Document, images: list[str]
) -> BadRequest | ServiceUnavailable:
    """What a client is told when its sandbox cannot run."""
    if not isinstance(problem, UnknownImage):
        return ServiceUnavailable(
            f"Sandbox {document.name!r} could not be started: {problem}",
            code="SANDBOX_START_FAILED",
        )
    image = msgspec.json.decode(document.body)["spec"]["runtime"]["image"]
    return BadRequest(
        f"spec.runtime.image {image[:120]!r} is not available here. "
        f"Available: {', '.join(images)}.",
        code="INVALID_IMAGE",
        details={"requested_image": image, "supported_images": images},
    )


def keep_fixed(before: Body, wanted: Body) -> None:
    """What belongs to the running sandbox cannot be replaced under it."""
    for field in ("image", "memory"):
        if wanted[field] != before[field]:
            raise BadRequest(
                f"spec.runtime.{field} cannot change from {before[field]!r} to "
                f"{str(wanted[field])[:120]!r} while the sandbox lives: delete it and create it "
                "again."
            )
    wanted.pop("extraArgs", None)
    if "extraArgs" in before:
        wanted["extraArgs"] = before["extraArgs"]
