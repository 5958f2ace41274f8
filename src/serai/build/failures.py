"""Why a build did not come to an image."""


class BuildFailed(Exception):
    """The build ended without an image; the message names cause and fix, for who deployed."""
