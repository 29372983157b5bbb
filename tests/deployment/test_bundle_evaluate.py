"""A bundle is measured without PyTorch, and its numbers are those that PyTorch's metrics and packing give."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import classicnets as cn
from bundles import CLASSES, rewrite, seal, tiny_card, write_bundle, write_graph
from classicnets.cli.main import main
from classicnets.data import load_data
from classicnets.data.corrections import Correction, write_corrections
from classicnets.data.load import find_source, read_source
from classicnets.data.record import write_record
from classicnets.data.sources.fashion_mnist import CLASSES as FASHION
from classicnets.deployment.bench.contender import Contender, Loaded
from classicnets.deployment.bench.measure import bench
from classicnets.deployment.bench.target import open_target
from classicnets.errors import ConfigError, DataError
from classicnets.evaluation import Report, seen
from classicnets.evaluation.choose import given_images, own_images
from classicnets.evaluation.corruptions import evaluate_corruptions
from classicnets.images import is_tensor
from fashion import write_fashion

WITHOUT = "import sys; sys.modules['torch'] = None\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 test images in class folders, a few of them of another colour than their folder says."""
    random = np.random.default_rng(0)
    for part, per_class in (("train", 1), ("val", 1), ("test", 20)):
        for k, name in enumerate(CLASSES):
            place = tmp_path / "images" / part / name
            place.mkdir(parents=True)
            for i in range(per_class):
                pixels = random.integers(0, 120, (12 + i % 3, 10, 3), dtype=np.uint8)
                pixels[..., k if i % 5 else (k + 1) % 3] += 60
                Image.fromarray(pixels).save(place / f"{i:02}.png")
    return tmp_path / "images"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["classicnets", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def with_torch(bundle: Path, folder: Path) -> Report:
    """The report by way of tensors: packed images of the same set."""
    images = read_source(folder).test
    return cn.evaluate(cn.load(bundle), images, data="images test")


def test_the_report_is_the_one_of_packed_tensors(bundle: Path, folder: Path) -> None:
    report = cn.evaluate(cn.load(bundle), folder)
    assert report == with_torch(bundle, folder)
    assert report.num_images == 60
    assert 0.5 < report.top1 < 1
    assert {one.column for one in report.slices.found} >= {"brightness", "sharpness"}


def test_a_set_in_several_parts_is_the_same(bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_PART", 7)
    steps: list[tuple[str, int, int]] = []
    report = cn.evaluate(cn.load(bundle), folder, progress=lambda *step: steps.append(step))
    assert report == with_torch(bundle, folder)
    assert steps[0] == ("Classifying", 7, 60)
    assert steps[-1] == ("Classifying", 60, 60)


def test_a_fresh_process_without_torch(bundle: Path, folder: Path, tmp_path: Path) -> None:
    code = WITHOUT + (
        "import classicnets as cn, json\n"
        f"report = cn.evaluate(cn.load({str(bundle)!r}), {str(folder)!r})\n"
        "print(json.dumps(report.to_dict()))\n"
        f"report.save({str(tmp_path / 'out')!r})\n"
        "from classicnets.cli.main import app\n"
        f"app(['evaluate', {str(bundle)!r}, {str(folder)!r}, '--json'], standalone_mode=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library, line = done.stdout.split("\n", 1)
    expected = with_torch(bundle, folder)
    assert Report.from_dict(json.loads(library)).to_dict() == expected.to_dict()
    assert Report.from_dict(json.loads(line)).to_dict() == expected.to_dict()
    assert Report.load(tmp_path / "out") == expected


@pytest.fixture
def whole(folder: Path) -> Path:
    """The test images in class folders alone, which are split by a seed."""
    return folder / "test"


@pytest.fixture
def of_a_run(bundle: Path, whole: Path) -> Path:
    """The bundle of a run that was trained on the images of `whole`."""
    known = {"source": str(whole), "split_seed": 3, "val_fraction": 0.2, "test_fraction": 0.4, "on_error": "fail"}
    given = load_data(whole, seed=3, val_fraction=0.2, test_fraction=0.4)
    return trained_on(bundle, {**known, "fingerprint": given.fingerprint()})


def trained_on(bundle: Path, data: dict[str, object]) -> Path:
    rewrite(bundle, card={**tiny_card().to_dict(), "provenance": {"data": data}})
    return bundle


def asked_without_torch(*arguments: str | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """What the command says in a fresh process in which PyTorch cannot be imported."""
    code = WITHOUT + (
        "from classicnets.cli.main import main\n"
        f"sys.argv = ['classicnets', 'evaluate', *{list(map(str, arguments))!r}]\n"
        "main()\n"
    )
    environment = {**os.environ, "CLASSICNETS_CACHE": str(cache)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_the_images_that_the_run_kept_apart(of_a_run: Path, tmp_path: Path) -> None:
    done = asked_without_torch(of_a_run, "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    scorer = cn.load(of_a_run)
    chosen = own_images(scorer)
    assert is_tensor(chosen.images.labels)
    assert len(chosen.images) == 24
    expected = cn.evaluate(scorer, chosen.images, data=chosen.name)
    assert Report.from_dict(json.loads(done.stdout)).to_dict() == expected.to_dict()
    assert "changed" not in done.stderr  # the fingerprint of arrays is that of tensors


def test_images_that_have_changed_since(of_a_run: Path, whole: Path, tmp_path: Path) -> None:
    (whole / "red" / "00.png").unlink()
    done = asked_without_torch(of_a_run, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The data has changed since the training" in done.stderr


def test_a_bundle_inside_its_run_knows_the_runs_images(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    bundle = trained_on(write_bundle(run / "bundle"), {})
    write_record(run / "images.csv", load_data(folder))
    moved = folder.rename(tmp_path / "moved")
    done = asked_without_torch(bundle, moved, "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"] == "moved test"
    assert json.loads(done.stdout)["num_images"] == 60


@pytest.mark.parametrize("corrected", [False, True])
def test_a_data_set_with_a_name(bundle: Path, tmp_path: Path, monkeypatch, corrected: bool) -> None:
    weight = np.zeros((3, 10), np.float32)
    weight[0, 1] = 1 / 20
    write_graph(bundle / "model.onnx", weight=weight, bias=127.5 / 20)  # about half of noise is brighter
    seal(bundle)
    monkeypatch.setenv("CLASSICNETS_CACHE", str(tmp_path / "cache"))
    write_fashion(tmp_path / "cache/fashion-mnist", train=60, test=50)
    known: dict[str, object] = {
        "source": "fashion-mnist", "split_seed": 0, "val_fraction": 0.5, "test_fraction": 0.1, "on_error": "fail",
    }  # fmt: skip
    if corrected:
        made = {f"train/{i:05}": Correction("relabel", "Trouser") for i in range(0, 60, 12)}
        made |= {f"train/{i:05}": Correction("drop") for i in range(1, 60, 12)}
        write_corrections(tmp_path / "corrections.csv", made)
        known["corrections"] = str(tmp_path / "corrections.csv")
    rewrite(bundle, card={**tiny_card().to_dict(), "classes": list(FASHION), "provenance": {"data": known}})
    scorer = cn.load(bundle)
    for arguments in (["fashion-mnist"], ["--split", "val"], ["fashion-mnist", "--split", "train"]):
        done = asked_without_torch(bundle, *arguments, "--json", cache=tmp_path / "cache")
        assert done.returncode == 0, done.stderr
        part = arguments[-1] if "--split" in arguments else None
        chosen = own_images(scorer, part) if arguments[0] == "--split" else given_images("fashion-mnist", part)
        assert is_tensor(chosen.images.images)
        expected = cn.evaluate(scorer, chosen.images, data=chosen.name)
        assert Report.from_dict(json.loads(done.stdout)).to_dict() == expected.to_dict()
        assert 0 < expected.top1 < 1


def test_the_page(bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = asked_without_torch(bundle, folder, "--out", tmp_path / "without", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert command(monkeypatch, "evaluate", bundle, folder, "--out", tmp_path / "with") == 0
    pages = [(tmp_path / name / "report.html").read_text("utf-8") for name in ("without", "with")]
    assert pages[0] == pages[1]
    assert pages[0].count("data:image") > 20
    for name in ("confusion.png", "reliability.png", "mistakes.png"):
        pictures = [(tmp_path / kind / "figures" / name).read_bytes() for kind in ("without", "with")]
        assert pictures[0] == pictures[1]


def test_corruptions_need_pytorch_and_say_so_first(bundle: Path, folder: Path, tmp_path: Path) -> None:
    done = asked_without_torch(bundle, folder, "--corruptions", "--out", tmp_path / "out", cache=tmp_path)
    assert done.returncode == 2
    assert "--corruptions needs PyTorch, which is not installed" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_ten_crop_is_refused_without_pytorch_too(bundle: Path, folder: Path, tmp_path: Path) -> None:
    done = asked_without_torch(bundle, folder, "--ten-crop", cache=tmp_path)
    assert done.returncode == 2
    assert "a bundle takes its own view of an image only" in " ".join(done.stderr.split())


def test_a_page_with_corruptions_that_were_measured_before(bundle: Path, folder: Path, tmp_path: Path) -> None:
    report = cn.evaluate(cn.load(bundle), folder, data="images test")
    robustness = evaluate_corruptions(cn.load(bundle), find_source(folder).test, report, most=3)
    robustness.save(tmp_path / "out" / "evaluation")
    done = asked_without_torch(bundle, folder, "--out", tmp_path / "out", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "JPEG compression" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_table_and_its_columns(bundle: Path, folder: Path) -> None:
    rows = ["path,label,camera"]
    for path in sorted(folder.glob("test/*/*.png")):
        rows.append(f"{path.relative_to(folder)},{path.parent.name},{'ab'[int(path.stem) % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    report = cn.evaluate(cn.load(bundle), folder / "labels.csv")
    assert [one.name for one in report.slices.found][:2] == ["camera: a", "camera: b"]


@pytest.mark.parametrize("read", [find_source, read_source])
def test_images_that_cannot_be_read(bundle: Path, folder: Path, read: Callable) -> None:
    for name in ("00.png", "03.png"):
        (folder / "test" / "green" / name).write_bytes(b"no image")
    images, scorer = read(folder).test, cn.load(bundle)
    with pytest.raises(DataError, match=r"2 of 60 images cannot be read:\n  test/green/00\.png"):
        cn.evaluate(scorer, images)
    report = cn.evaluate(scorer, images, on_error="skip")
    assert (report.num_images, len(report.skipped)) == (58, 2)
    for path in folder.glob("test/*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="None of the 60 images can be read"):
        cn.evaluate(scorer, images, on_error="skip")


def test_a_class_that_the_bundle_does_not_know(bundle: Path, folder: Path) -> None:
    for part in ("train", "test"):
        shutil.move(folder / part / "red", folder / part / "crimson")
    with pytest.raises(DataError, match="does not know 'crimson'"):
        cn.evaluate(cn.load(bundle), folder)


def test_a_report_goes_where_it_is_asked_for(bundle: Path, folder: Path, tmp_path: Path, monkeypatch) -> None:
    assert command(monkeypatch, "evaluate", bundle, folder, "--out", tmp_path / "out") == 0
    assert "green" in (tmp_path / "out" / "report.html").read_text("utf-8")


class TestBenchWithoutTorch:
    @pytest.fixture(autouse=True)
    def _without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name))

    def test_the_engines_of_a_bundle(self, bundle: Path) -> None:
        class Fake:
            def __init__(self, contender: Contender, shape: tuple[int, ...]) -> None:
                self.loaded = Loaded(1.0, "fp32")

            def turn(self, batch: int) -> list[float]:
                return [0.01]

            def peak_bytes(self) -> int:
                return 1 << 20

            def close(self) -> None: ...

        with open_target(bundle, threads=1) as target:
            assert [contender.name for contender in target.contenders] == ["ONNX Runtime fp32 as exported"]
            assert (target.title, target.shape) == ("resnet20_cifar at 3x8x8", (3, 8, 8))
            report = bench(target, batches=(1,), seconds=0, start=Fake)  # type: ignore[arg-type]
        assert report.notes == target.notes
        assert report.notes[0].startswith("PyTorch is not installed: ")
        (row,) = report.rows
        assert (row.p50_ms, row.gflops, row.of_roof, report.peaks) == (10, None, None, None)

    def test_no_engine_is_left(self, bundle: Path) -> None:
        with (
            pytest.raises(ConfigError, match="No engine to measure without PyTorch"),
            open_target(bundle, ways=["eager", "compile"]),
        ):
            pass


@pytest.mark.timeout(60)
def test_bench_in_a_fresh_process_without_torch(bundle: Path, tmp_path: Path) -> None:
    line = f"['bench', {str(bundle)!r}, '--batches', '1', '--seconds', '0', '--threads', '1']"
    code = WITHOUT + (
        "if __name__ == '__main__':\n"
        "    from classicnets.cli.main import app\n"
        f"    app({line}, standalone_mode=False)\n"
    )
    (tmp_path / "ask.py").write_text(code)
    done = subprocess.run([sys.executable, tmp_path / "ask.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime fp32 as exported" in done.stdout
    assert "PyTorch is not installed" in done.stderr
