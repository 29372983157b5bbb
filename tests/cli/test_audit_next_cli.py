"""`classicnets audit next` as a user meets it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from classifiers import tiny_classifier
from photos import PHOTO_CLASSES, write_photos


def test_it_writes_a_list_and_a_page(run_cli, photo_folder: Path, tmp_path: Path) -> None:
    run, pool, out = tmp_path / "model", tmp_path / "pool", tmp_path / "next"
    tiny_classifier(PHOTO_CLASSES, channels=3).save(run)
    write_photos(pool, 4, first_seed=100)
    for i in range(2):
        shutil.copy(photo_folder / "disc" / f"00{i}.jpg", pool / f"labelled-{i}.jpg")
    arguments = ["audit", "next", photo_folder, pool, "--weights", run, "--count", "6"]
    answer = run_cli(*arguments, "--out", out)
    assert answer.code == 0
    assert "label these 6 of 14 images next" in answer.out
    assert "left out: 2 images identical to a labelled image" in answer.err
    with (out / "next.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [["path", "score", "reason", "guess"]] * 6
    assert all((pool / row["path"]).is_file() for row in rows)
    page = (out / "next.html").read_text("utf-8")
    assert page.count("<figure") == 6
    for row in rows:
        assert row["path"] in page
    assert run_cli(*arguments, "--out", out).code == 2  # nothing is overwritten
    parsed = json.loads(run_cli(*arguments, "--json").out)
    assert [one["path"] for one in parsed["wanted"]] == [row["path"] for row in rows]
    assert run_cli("audit", "next", photo_folder, tmp_path / "none", "--weights", run).code == 3
