"""Whether `audit shortcuts` finds each shortcut that is planted, and none in clean sets.

Every set has pictures of coloured noise that say nothing of their class. Names, dates, sizes, encoders, cameras, light,
borders, groups and columns are random, too. In a planted set one of these follows the class in 9 of 10 images.

    python benchmarks/audit_shortcuts.py [--clean 20]
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from report import SIGN_DIGITS, write_results

from classicnets.audit.shortcuts import ShortcutAudit, audit_shortcuts
from classicnets.reports.text import percent

CLASSES = ("ant", "bee", "cat")
PLANTS = {
    "file name": "file name",
    "numbering": "numbering",
    "date of the file": "date of the file",
    "date of the photo": "date of the photo",
    "camera": "camera and software",
    "width": "image size",
    "aspect": "image size",
    "format": "format and colours",
    "JPEG quality": "JPEG quality",
    "JPEG sampling": "JPEG quality",
    "brightness": "brightness",
    "saturation": "colour",
    "border": "border",
    "folder": "folder inside the class",
    "group": "group",
    "words in a column": "column 'site'",
    "numbers in a column": "column 'exposure'",
}
"""What is planted, and the clue that must be found."""

_BEGIN = datetime(2024, 1, 1)
_FAITHFUL = 0.9


def make_set(folder: Path, seed: int, plant: str | None = None, of_each: int = 24) -> Path:
    """Write a set of images and a table, whose path is returned; `plant` is a name of PLANTS, or None."""
    random = np.random.default_rng([seed, sorted(PLANTS).index(plant) if plant else len(PLANTS)])
    rows = []
    order = random.permutation(len(CLASSES) * of_each).tolist()
    for index in range(len(CLASSES) * of_each):
        label = index % len(CLASSES)

        def pick(what: str, values: list, label: int = label) -> object:
            """The value of the class if this is planted, else any."""
            is_planted = what == plant and random.random() < _FAITHFUL
            return values[label] if is_planted else values[random.integers(len(values))]

        number = 10_000 + order[index]
        if plant == "numbering":
            number = 10_000 + label * 300 + order[index]
        path = Path(
            CLASSES[label], str(pick("folder", ["a", "b", "c"])),
            f"{pick('file name', ['img', 'scan', 'shot'])}_{number}{pick('format', ['.jpg', '.png', '.webp'])}",
        )  # fmt: skip
        _write_image(folder / path, random, pick, number)
        group = int(pick("group", [0, 1, 2])) * 10 + int(random.integers(10)) if plant == "group" else index // 3
        written = int(pick("date of the file", [0, 100, 200])) + random.uniform(0, 99)
        os.utime(folder / path, times=((_BEGIN + timedelta(days=written)).timestamp(),) * 2)
        exposure = float(pick("numbers in a column", [0.1, 0.5, 0.9])) + random.uniform(0, 0.3)
        site = pick("words in a column", ["north", "south", "west"])
        rows.append((path.as_posix(), CLASSES[label], group, site, f"{exposure:.3f}", f"{random.random():.9f}"))
    table = folder / "labels.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group", "site", "exposure", "noise"), *rows])
    return table


def _write_image(path: Path, random: np.random.Generator, pick: Callable[[str, list], object], number: int) -> None:
    width = int(pick("width", [48, 60, 72]))
    height = round(width / float(pick("aspect", [0.75, 1.0, 1.5])))
    noise = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    pixels = np.asarray(noise, float)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + float(pick("saturation", [0.2, 0.6, 1.0])) * (pixels - grey)
    pixels = pixels * 0.5 + float(pick("brightness", [10, 60, 110]))
    border = pick("border", [None, 0, 255]) if random.random() < 0.95 else None
    if border is not None:
        pixels[:2] = pixels[-2:] = pixels[:, :2] = pixels[:, -2:] = border
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = str(pick("camera", ["X100", "D70", "G5"]))
    days = int(pick("date of the photo", [0, 100, 200])) + random.uniform(0, 99)
    exif[ExifTags.Base.DateTime] = f"{_BEGIN + timedelta(days=days):%Y:%m:%d %H:%M:%S}"
    kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[path.suffix]
    options: dict[str, object] = {"exif": exif}
    if kind == "JPEG":
        options |= {"quality": pick("JPEG quality", [75, 85, 95]), "subsampling": pick("JPEG sampling", [0, 1, 2])}
    content = io.BytesIO()
    image.save(content, kind, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())


def strongest(found: ShortcutAudit, name: str | None = None) -> str:
    """The strongest clue, or the one called `name`, with its accuracy and chance."""
    best = next(finding for finding in found.findings if name in (None, finding.clue.name))
    return f"{best.clue.name}, {percent(best.measured.accuracy)} (chance {percent(best.chance)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--sources", nargs="*", default=["digits", "fashion-mnist", f"csv:{SIGN_DIGITS}/index.csv"])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (plant, clue) in enumerate(PLANTS.items()):
            found = audit_shortcuts(make_set(Path(folder, "planted", str(number)), number, plant))
            names = [finding.clue.name for finding in found.shortcuts]
            others = ", ".join(name for name in names if name != clue) or "none"
            rows.append((f"planted: {plant}", "yes" if clue in names else "NO", others, strongest(found, clue)))
        clean = [audit_shortcuts(make_set(Path(folder, "clean", str(seed)), seed)) for seed in range(options.clean)]
    alarms = sum(bool(found.shortcuts) for found in clean)
    traces = sum(finding.verdict == "trace" for found in clean for finding in found.findings)
    judged = sum(len(found.findings) for found in clean)
    worst = max(clean, key=lambda found: found.findings[0].gain)
    rows.append((f"clean: {len(clean)} sets", "", f"{alarms} alarms", strongest(worst)))
    rows.append((f"clean: {judged} clues", "", f"{traces} traces", ""))
    for source in options.sources:
        found = audit_shortcuts(source)
        names = ", ".join(finding.clue.name for finding in found.shortcuts) or "none"
        rows.append((found.name, "", names, strongest(found)))
    write_results(
        "audit_shortcuts",
        "`audit shortcuts`: planted shortcuts and clean sets",
        ("set", "found", "other shortcuts", "balanced accuracy of that clue, else of the strongest"),
        rows,
        [
            f"Sets of {len(CLASSES)} classes of 24 images of noise. What is planted follows the class in "
            f"{_FAITHFUL:.0%} of the images at least; the rest is random. Clues may belong together: the width decides "
            "the size of the file, the format decides whether there is a JPEG quality, saturation changes the border.",
        ],
    )


if __name__ == "__main__":
    main()
