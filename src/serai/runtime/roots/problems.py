"""Why an image cannot be had."""

from serai.runtime.port import ImageNotReady, RuntimeProblem, UnknownImage


class ImageProblem(RuntimeProblem):
    """An image could not be built, pulled or imported; nothing half-done is left."""


__all__ = ["ImageNotReady", "ImageProblem", "UnknownImage"]
