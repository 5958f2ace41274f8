"""Why an image cannot be had."""

from serai.runtime.port import RuntimeProblem, UnknownImage


class ImageProblem(RuntimeProblem):
    """An image could not be built, pulled or imported; nothing half-done is left."""


class ImageNotReady(RuntimeProblem):
    """The image is being built or pulled; asking again later works.

    Attributes:
        progress: what is going on now, for people.
    """

    def __init__(self, reference: str, progress: str) -> None:
        super().__init__(f"image {reference} is being made ready: {progress}")
        self.progress = progress


__all__ = ["ImageNotReady", "ImageProblem", "UnknownImage"]
