"""Why a sandbox cannot be started or replaced as wanted."""

from serai.kernel.errors import BadRequest, ServiceUnavailable
from serai.resources.kind import Body
from serai.runtime.port import ImageNotReady, RuntimeProblem, UnknownImage

RETRY_SECONDS = 15


def explain_start(problem: RuntimeProblem, body: Body) -> BadRequest | ServiceUnavailable:
    """What a client is told when its sandbox cannot run."""
    image = body["spec"]["runtime"]["image"]
    if isinstance(problem, ImageNotReady):
        return ServiceUnavailable(
            f"spec.runtime.image {image[:120]!r} is being made ready, which goes on: "
            f"{problem.progress}. Ask again in {RETRY_SECONDS} seconds.",
            code="IMAGE_NOT_READY",
            details={"image": image, "progress": problem.progress},
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    if not isinstance(problem, UnknownImage):
        return ServiceUnavailable(
            f"Sandbox {body['metadata']['name']!r} could not be started: {problem}",
            code="SANDBOX_START_FAILED",
        )
    return BadRequest(
        f"spec.runtime.image {image[:120]!r} is not available here. {problem}.",
        code="INVALID_IMAGE",
        details={"requested_image": image, "supported_images": problem.known},
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
