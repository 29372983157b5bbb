"""What the benchmarks share: a results file that says on which machine, with which versions and by which command."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from classicnets.training.run import environment

RESULTS = Path(__file__).parent / "results"
SIGN_DIGITS = Path(__file__).parents[2] / "shared" / "data" / "sign-digits"
"""Photos of hands that show digits, where the folder beside the project has them; else give another folder."""


def write_results(
    name: str, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Sequence[str] = ()
) -> Path:
    """Write `results/NAME.md`: the title, the machine, one table, and notes; print it too."""
    facts = environment("")
    machine = f"{facts['cpu']}, {os.cpu_count()} cores, torch {facts['torch']}, classicnets {facts['classicnets']}"
    arguments = [Path(argument).name if os.sep in argument else argument for argument in sys.argv[1:]]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    lines = [
        f"# {title}",
        "",
        f"- machine: {machine}",
        f"- made by: `{command}`, {time.strftime('%Y-%m-%d')}",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
        "",
        *notes,
    ]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text("\n".join(lines).rstrip() + "\n", "utf-8")
    print(path.read_text("utf-8"))
    return path
