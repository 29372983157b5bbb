"""Run studies, and keep their outcomes: results/studies/*.json with a figure each, and one table, results/studies.md.

    python benchmarks/studies.py                          every claim, quick
    python benchmarks/studies.py residual relu            some of them
    python benchmarks/studies.py residual --data cifar10 --images 10000 --set epochs=30

A study that was stopped goes on. The table has every outcome that the folder holds, whenever it was measured; its file
says on which machine. No hypothesis was changed after its numbers were seen.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from report import RESULTS, write_results

from classicnets.studies import CLAIMS
from classicnets.studies.outcome import Outcome
from classicnets.studies.run import run_study
from classicnets.system.progress import progress_bars, say

KEPT = RESULTS / "studies"
COLUMNS = ("claim", "what it says", "verdict", "compared", "found", "data", "minutes")


def keep(outcome: Outcome) -> None:
    """Copy the outcome and its figure to the results."""
    KEPT.mkdir(parents=True, exist_ok=True)
    values = json.loads((outcome.folder / "outcome.json").read_text("utf-8"))
    values["folder"] = outcome.folder.name
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (KEPT / f"{outcome.folder.name}.json").write_text(text + "\n", "utf-8")
    shutil.copy(outcome.folder / "figure.png", KEPT / f"{outcome.folder.name}.png")


def rows() -> list[tuple[str, ...]]:
    """The table's rows: every outcome that is kept, in the order of the claims."""
    outcomes = [json.loads(path.read_text("utf-8")) for path in sorted(KEPT.glob("*.json"))]
    outcomes.sort(key=lambda outcome: list(CLAIMS).index(outcome["name"]))
    return [
        (
            f"[{outcome['name']}](studies/{outcome['folder']}.png)",
            outcome["claim"],
            f"**{outcome['verdict']}**",
            "<br>".join(finding["hypothesis"].replace("<", "&lt;") for finding in outcome["findings"]),
            "<br>".join(f"{finding['found']}: {finding['verdict']}" for finding in outcome["findings"]),
            f"{outcome['data']}, {outcome['images'][0]:,} images" if outcome["images"] else "counted",
            f"{outcome['seconds'] / 60:.1f}" if outcome["seeds"] else "0",
        )
        for outcome in outcomes
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", default=list(CLAIMS))
    parser.add_argument("--preset", choices=("quick", "full"), default="quick")
    parser.add_argument("--data")
    parser.add_argument("--images", type=int)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("studies"))
    given = parser.parse_args()
    with progress_bars() as progress:
        for name in given.claims:
            outcome = run_study(
                name, preset=given.preset, data=given.data, images=given.images, settings=given.settings,
                seeds=given.seeds, out=given.out, progress=progress, say=say,
            )  # fmt: skip
            say(f"{name}: {outcome.verdict}")
            keep(outcome)
    notes = [
        "A hypothesis is shown if the 95% interval of its number lies on the side that the claim expects, contradicted",
        "if it lies on the other side. Intervals are Student's t over the seeds, paired, on the same test images: they",
        "say how far another seed may change the result, not other images. Minutes: the trainings of one study, one",
        "thread beside other work. Each network trains with every seed.",
    ]
    write_results("studies", "What the field claims, measured", COLUMNS, rows(), notes)


if __name__ == "__main__":
    main()
