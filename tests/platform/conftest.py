"""One server for this folder, and a factory for tests that stop theirs."""

from server_fixtures import api, new_server, server

__all__ = ["api", "new_server", "server"]
