"""Which management operations an installed official client can call, read from its code."""

import re
from pathlib import Path

from contract.specs import Route

PYTHON = re.compile(r'"method": "(\w+)",\s*"url": f?"([^"]*)"')
TYPESCRIPT = re.compile(r"\)\.(get|post|put|delete|patch)\(\{.*?\burl: '([^']*)'", re.DOTALL)


def calls_of(name: str, repository: Path) -> frozenset[Route] | None:
    """The routes of a client named as in the conformance table; ``None`` when not installed."""
    language, _, version = name.partition("-")
    clients = repository / ".cache" / "clients"
    if language == "python":
        found = clients.glob(
            f"py-{version}/lib/python3*/site-packages/blaxel/core/client/api/*/*.py"
        )
        pattern = PYTHON
    else:
        found = clients.glob(f"ts-{version}/node_modules/@blaxel/core/dist/esm/client/sdk.gen.js")
        pattern = TYPESCRIPT
    texts = [path.read_text() for path in found]
    if not texts:
        return None
    return frozenset(Route.of(*match) for text in texts for match in pattern.findall(text))
