"""Serve from a fork that can import nothing any more, as after a change of root directory."""

import os
import socket
import sys

from serai.sandboxd.main import preload, serve


class NoImports:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        with open(os.environ["IMPORT_LOG"], "a") as log:
            log.write(name + "\n")
        raise ImportError(f"import of {name} after the fork")


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    return listener


def main(directory: str) -> None:
    preload()
    api, port = listen(f"{directory}/api"), listen(f"{directory}/port")
    if (child := os.fork()) == 0:
        sys.path.clear()
        sys.path_importer_cache.clear()
        sys.meta_path[:] = [NoImports()]  # type: ignore[list-item]
        config = {
            "id": "forked",
            "hostname": "box",
            "environment": {"ONLY": "this"},
            "home": directory,
            "workdir": f"{directory}/made/on/start",
        }
        serve(api, port, config)
    api.close()
    port.close()
    print(child, flush=True)
    os.waitpid(child, 0)


main(sys.argv[1])
