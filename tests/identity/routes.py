"""Every route that a server has, read from the application itself."""

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

from litestar import Litestar

from serai.app import Platform
from serai.kernel.settings import Settings


@cache
def templates() -> list[tuple[str, str]]:
    """Method and path template of each operation; nothing is started."""
    with tempfile.TemporaryDirectory() as directory, patch("serai.app.create_app") as create_app:
        platform = Platform(Settings(data_dir=Path(directory)), own_mounts=False)
        platform.db.open()
        platform.assemble(MagicMock())
        platform.application()
        platform.db.close()
    handlers: list[Any] = create_app.call_args.args[0]
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        app = Litestar(route_handlers=handlers, openapi_config=None, logging_config=None)
    return sorted(
        (method, route.path_format)
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method not in {"OPTIONS", "HEAD"}
    )
