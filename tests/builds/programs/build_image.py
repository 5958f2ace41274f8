"""Builds an image with the official SDK, and uses it by its name."""

import sys

from blaxel.core import SyncSandboxInstance
from blaxel.core.image import ImageInstance


def main() -> None:
    base, name = sys.argv[1:]
    seen: list[str] = []
    image = (
        ImageInstance.from_registry(base)
        .workdir("/srv")
        .run_commands("echo built > /note")
        .env(COLOUR="blue")
    )
    built = image.build_sync(name, memory=1024, on_status_change=seen.append)
    assert built.status == "DEPLOYED", built
    assert seen[-1] == "DEPLOYED", seen
    assert "BUILDING" in seen, seen
    box = SyncSandboxInstance.create({"name": f"{name}-2", "image": name, "memory": 512})
    done = box.process.exec(
        {"command": "cat /note; echo $COLOUR; pwd", "wait_for_completion": True}
    )
    assert done.stdout.split() == ["built", "blue", "/srv"], done
    box.delete()
    print("built by the SDK")


main()
