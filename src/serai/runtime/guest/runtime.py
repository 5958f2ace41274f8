"""Sandboxes like the embedded runtime's, but started by another program on this host."""

import shutil
from pathlib import Path

import msgspec

from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.guest import tree
from serai.runtime.guest.records import read_record
from serai.runtime.masks import Masks
from serai.runtime.messages import Setup
from serai.runtime.port import NotInstalled, RuntimeProblem


class ProgramRuntime(EmbeddedRuntime):
    """Everything on disk is as in the embedded runtime; drivers add how to start a sandbox.

    Args:
        data_dir, entry, max_processes: see EmbeddedRuntime.
        starter: module with ``start(place, birth, directory)``.
    """

    starter: str

    def _program(self) -> str:
        """The path of the program.

        Raises:
            NotInstalled: it is not here; names how to get it.
        """
        raise NotImplementedError

    async def start(self) -> None:
        """See EmbeddedRuntime.start."""
        await super().start()
        self.isolation = f"{self.name}: {self.isolation}"

    def _survey(self) -> tuple[Setup, Masks]:
        setup, masks = super()._survey()  # first: what ended sandboxes left is to be found
        program = self._program()
        built = tree.build(self._successors.folder, self._entry)
        if not self._storage.known():
            saved = map(self._storage.saved_files, self._storage.known_saved())
            records = [record for path in saved if (record := read_record(path))]
            _keep_only({built.name, *(record.tree for record in records)}, self._successors.folder)
        return msgspec.structs.replace(
            setup, starter=self.starter, program=program, tree=str(built)
        ), masks

    def _explain(self, problem: RuntimeProblem) -> RuntimeProblem:
        if isinstance(problem, NotInstalled):
            return problem
        return RuntimeProblem(f"the runtime {self.name} cannot be used on this host: {problem}")


def _keep_only(names: set[str], folder: Path) -> None:
    """Remove trees of earlier installations that no sandbox runs from, and no saved process."""
    for path in (*folder.glob("guest-*"), *tree.trees_in(folder).glob("guest-*")):
        if path.stem in names:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
