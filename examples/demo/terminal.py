"""Plain, readable output: colours only where a terminal shows them."""

import os
import sys
import time

WIDTH = 72


class Terminal:
    """Prints numbered steps, details below them, and how long each step took."""

    def __init__(self) -> None:
        wanted = sys.stdout.isatty() or "CLICOLOR_FORCE" in os.environ
        self._colours = wanted and "NO_COLOR" not in os.environ
        self._steps = 0
        self._began = 0.0
        self._inside_line = False

    def title(self, text: str, **facts: object) -> None:
        """A headline and some facts below it."""
        print(f"\n{self._paint('1', text)}\n")
        for name, value in facts.items():
            print(f"  {self._paint('2', f'{name:<8}')}{value}")

    def step(self, text: str) -> None:
        """Begin a step."""
        self._steps += 1
        self._began = time.monotonic()
        print(f"\n{self._paint('1;36', str(self._steps))}  {self._paint('1', text)}", flush=True)

    def detail(self, text: str) -> None:
        """One line of what happened."""
        print(f"   {text}", flush=True)

    def done(self, text: str) -> None:
        """One line of what happened, and the time since the step began."""
        taken = f"{(time.monotonic() - self._began) * 1000:.0f} ms"
        print(f"   {text:<{WIDTH - 3 - len(taken)}}{self._paint('2', taken)}", flush=True)

    def output(self, text: str) -> None:
        """Text that something else printed, in pieces of any size; see ``end_output``."""
        for line in text.splitlines(keepends=True):
            bar = "" if self._inside_line else f"   {self._paint('2', '│')} "
            print(bar + line, end="", flush=True)
            self._inside_line = not line.endswith("\n")

    def end_output(self) -> None:
        """Finish a line that has no end yet."""
        if self._inside_line:
            self.output("\n")

    def row(self, *cells: str) -> None:
        """A row of the bill: what, which, how much, how dear."""
        what, which, usage, cost = cells
        print(f"   {what:<28}{which:<16}{usage:>12}{cost:>13}", flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours else text
