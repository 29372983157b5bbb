"""`run_study`: a study from its first cell to its outcome, and `run_all` for every claim.

    claim, preset -> cells (arms x seeds), each measured once -> findings -> verdict, figure

Everything is in the folder, so a study that was stopped or killed goes on where it was:

    studies/
      studies.json                      marks the folder as one of studies
      relu-quick-fashion-mnist/
        cells/  trainings/              what was measured; the training under way
        outcome.json  figure.png        the verdict
      quick.html                        written by `run_all`
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from classicnets.data import Data, load_data
from classicnets.errors import ConfigError, Locked
from classicnets.reports.canvas import png
from classicnets.studies.cells import CellPlan, few
from classicnets.studies.claim import Cell, Cells, Claim, Preset, PresetName
from classicnets.studies.claims import CLAIMS, find_claim
from classicnets.studies.outcome import Outcome
from classicnets.studies.report import write_page
from classicnets.studies.verdict import Finding
from classicnets.system.devices import Precision, choose_device
from classicnets.system.finite import finite
from classicnets.system.locks import lock
from classicnets.system.progress import Report, no_report
from classicnets.system.storage import recover, written_aside
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.folder import environment

_MARK = "studies.json"
FEWEST_SEEDS = 2
"""With one seed there is no interval, and so no verdict."""


def run_study(
    name: str,
    *,
    preset: PresetName = "quick",
    data: str | Path | Data | None = None,
    images: int | None = None,
    settings: Iterable[str] = (),
    seeds: int = 3,
    out: str | Path = "studies",
    device: str = "auto",
    progress: Report | None = None,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Run the study of a claim, or go on with it, and write its outcome.

    Args:
        name: the claim's name, as `classicnets study` lists it.
        preset: "quick" or "full".
        data: what `load_data` takes, or the Data that it returned; None takes the preset's.
        images: how many training images are used, 1 or more; None takes the preset's number.
        settings: changes to the preset's recipe, `key=value` each, such as "epochs=30". An arm's own settings win.
        seeds: how many times each network is trained, 2 or more. Seeds are 0, 1, 2, ...
        out: the folder of all studies: a new one, or one that a study made.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: called with what is being done, how much of it is done, and how much there is.
        say: called with a sentence on each cell.

    Returns:
        The outcome, which is also in the study's folder. Cells that were measured before are not measured again.

    Raises:
        UnknownName: there is no such claim.
        ConfigError: there are too few seeds, or `out` exists and is not a folder of studies.
        DataError: the images cannot be loaded.
        StorageError: the disk refuses. What was measured so far is kept.

    >>> run_study("inception-cost").verdict  # doctest: +SKIP
    <Verdict.SHOWN: 'shown'>
    """
    claim = find_claim(name)
    if seeds < FEWEST_SEEDS:
        raise ConfigError(f"A study needs at least {FEWEST_SEEDS} seeds for an interval, got {seeds}.")
    chosen, changes = _changed(claim.preset(preset), images, tuple(settings))
    root = Path(out)
    check_place(root)
    used = None
    if chosen.arms:
        given = chosen.data if data is None else data
        used = few(given if isinstance(given, Data) else load_data(given), chosen.images)
    parts = [claim.name, preset, used.name, *changes] if used else [claim.name]
    folder = root / re.sub(r"[^\w.=-]+", "", "-".join(parts))
    _claim_place(root)
    try:
        with lock(_made(folder) / ".lock"):
            for place in (folder, folder / "cells"):
                recover(place)
            where = choose_device(device)
            measured = _measured(claim, chosen, used, seeds, folder, device, progress or no_report, say or _silent)
            outcome = Outcome(
                claim=claim,
                preset=preset,
                changes=changes,
                data=used.name if used else "",
                images=tuple(len(part) for part in used.parts.values()) if used else (),
                seeds=seeds if used else 0,
                measured=measured,
                findings=tuple(Finding.of(hypothesis, measured) for hypothesis in claim.hypotheses),
                environment=environment(Precision.choose("auto", where).name, where),
                folder=folder,
            )
            _write(outcome)
    except Locked:
        raise Locked(f"Another process runs this study in {folder}. Let it finish, or choose another --out.") from None
    return outcome


def run_all(
    *,
    preset: PresetName = "quick",
    data: str | Path | None = None,
    images: int | None = None,
    settings: Iterable[str] = (),
    seeds: int = 3,
    out: str | Path = "studies",
    device: str = "auto",
    progress: Report | None = None,
    say: Callable[[str], None] | None = None,
    names: Sequence[str] = tuple(CLAIMS),
) -> tuple[list[Outcome], Path]:
    """Run the studies of all claims and write one page on them.

    Args:
        preset, data, images, settings, seeds, out, device, progress, say: as for `run_study`.
        names: the claims; all of them if not given.

    Returns:
        The outcomes in order, and the path of the page, `OUT/PRESET.html`.

    Raises:
        UnknownName, ConfigError, DataError, StorageError: as `run_study` does. Finished studies are kept.

    >>> outcomes, page = run_all()  # doctest: +SKIP
    """
    outcomes, settings = [], tuple(settings)
    for name in names:
        if say:
            say(f"{name}: {find_claim(name).sentence}")
        outcome = run_study(
            name, preset=preset, data=data, images=images, settings=settings, seeds=seeds, out=out, device=device,
            progress=progress, say=say,
        )  # fmt: skip
        if say:
            say(f"{name}: {outcome.verdict}")
        outcomes.append(outcome)
    return outcomes, write_page(outcomes, Path(out) / f"{preset}.html")


def check_place(root: Path) -> None:
    """Raise ConfigError if `root` exists, is not empty, and is not a folder of studies."""
    if (root / _MARK).is_file() or not root.exists():
        return
    if root.is_dir() and not any(root.iterdir()):
        return
    raise ConfigError(
        f"{root} exists and is not a folder of studies. Give --out a new folder, such as my-studies, or one that "
        "`classicnets study` made."
    )


def _claim_place(root: Path) -> None:
    if not (root / _MARK).is_file():
        with written_aside(root / _MARK) as new:
            new.write_text(json.dumps({"format": 1}) + "\n", "utf-8")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _changed(preset: Preset, images: int | None, settings: tuple[str, ...]) -> tuple[Preset, tuple[str, ...]]:
    """The preset with the user's changes, and their names."""
    if not preset.arms:
        return preset, ()
    with_settings(Recipe(), settings)  # a wrong one is refused before anything is loaded
    changed = replace(preset, settings=[*preset.settings, *settings], images=images or preset.images)
    return changed, (*([f"images={images}"] if images else []), *settings)


def _measured(
    claim: Claim,
    preset: Preset,
    data: Data | None,
    seeds: int,
    folder: Path,
    device: str,
    progress: Report,
    say: Callable[[str], None],
) -> tuple[Cells, ...]:
    """The cells of each seed, measured now or before; what was counted is in all of them."""
    counted = claim.count() if claim.count else {}
    if data is None:
        return (counted,)
    fingerprint = data.fingerprint()
    plans = [
        CellPlan.of(claim, preset, arm, seed, data, folder, fingerprint) for seed in range(seeds) for arm in preset.arms
    ]
    measured: list[dict[str, Cell]] = [dict(counted) for _ in range(seeds)]
    for number, plan in enumerate(plans, start=1):
        cell, how = plan.read(), "measured before"
        if cell is None:
            progress(f"{claim.name}, cells", number - 1, len(plans))
            cell, how = plan.measure(device, progress), "measured"
        result = "diverged" if "diverged" in cell else f"test {cell['test_accuracy']:.2%}"
        say(f"  cell {number:>{len(str(len(plans)))}}/{len(plans)}  {plan.arm.name}, seed {plan.seed}: {result}, {how}")
        measured[plan.seed][plan.arm.name] = cell
    return tuple(measured)


def _write(outcome: Outcome) -> None:
    with written_aside(outcome.folder / "figure.png") as new:
        new.write_bytes(png(outcome.draw()))
    with written_aside(outcome.folder / "outcome.json") as new:
        new.write_text(json.dumps(finite(outcome.to_dict()), indent=1, ensure_ascii=False) + "\n", "utf-8", newline="")


def _silent(text: str) -> None:
    pass
