"""Resources that hostile and generated requests find on the server."""

import httpx

from contract.specs import Json

NAME = "fuzzed"
"""What they are all called."""

DOMAIN = f"{NAME}.example.com"
"""What the custom domain is called: its name must be one."""

NOWHERE = "http://127.0.0.1:9"
"""A provider that refuses connections: no test calls a real one."""

SEEDS: dict[str, Json] = {
    "agents": {},
    "functions": {},
    "models": {},
    "policies": {"type": "location", "locations": [{"name": "local", "type": "location"}]},
    "integrations/connections": {"integration": "openai", "config": {"baseUrl": NOWHERE}},
    "sandboxes": {},
    f"sandboxes/{NAME}/previews": {"port": 3000},
    f"sandboxes/{NAME}/previews/{NAME}/tokens": {},
    "jobs": {},
    "applications": {},
    "volumes": {"size": 1024},
    "drives": {},
    "volume_templates": {},
    "vpcs": {},
    f"vpcs/{NAME}/egressgateways": {"region": "local"},
    f"vpcs/{NAME}/egressgateways/{NAME}/ips": {"ipFamily": "IPv4"},
    "customdomains": {"region": "local"},
}
"""A resource of each kind, by path: its spec is the least that the kind accepts."""


def plant(client: httpx.Client) -> list[str]:
    """Make one resource of each kind where it is not there already; returns what went wrong."""
    failed = []
    for path, spec in SEEDS.items():
        body = {"metadata": {"name": DOMAIN if path == "customdomains" else NAME}, "spec": spec}
        answer = client.post(f"/v0/{path}", json=body)
        if answer.status_code not in {200, 409}:
            failed.append(f"{path}: {answer.status_code} {answer.text}")
    return failed
