"""The programs in a bundle's README run without classicnets, and answer as `predict` does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from classicnets.classifier import Classifier
from classicnets.deployment.export import export
from classicnets.preprocess import Resize
from classifiers import tiny_classifier
from photos import PHOTO_CLASSES, make_photo

WITHOUT = "import sys; sys.modules['classicnets'] = sys.modules['torch'] = None\n"


@pytest.fixture(autouse=True)
def _no_large_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classicnets.deployment.export.large_photos", lambda *args: None)
    monkeypatch.setattr("classicnets.deployment.engines.usable_cores", lambda: 1)


def program(bundle: Path, language: str) -> str:
    """The program of that language in the README."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", (bundle / "README.md").read_text("utf-8"), re.DOTALL)
    return found


def photo(folder: Path, size: tuple[int, int]) -> Path:
    """One that is stored lying on its side."""
    picture = make_photo(PHOTO_CLASSES[1], 5, size)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(folder / "photo.jpg", exif=exif)
    return folder / "photo.jpg"


def made(folder: Path, engine: str, *, channels: int = 3, **changes: Any) -> Classifier:
    """Export a classifier to `folder`, and return it."""
    classifier = tiny_classifier(PHOTO_CLASSES, channels=channels, tta="flip")
    card = replace(classifier.card, preprocess=replace(classifier.preprocess, **changes))
    classifier = Classifier.of(card, classifier.model)
    export(classifier, folder, engine=engine)
    return classifier


def assert_answers(printed: str, classifier: Classifier, image: Path) -> None:
    label, score = printed.split()
    wanted = classifier.predict(image)
    assert label == wanted.label
    assert float(score) == pytest.approx(wanted.score, abs=1e-4)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_the_python_lines_answer_as_predict(tmp_path: Path, engine: str) -> None:
    classifier = made(tmp_path / "bundle", engine, crop_fraction=0.8)
    image = photo(tmp_path, (61, 40))
    command = [sys.executable, "-c", WITHOUT + program(tmp_path / "bundle", "python"), str(image)]
    done = subprocess.run(command, cwd=tmp_path / "bundle", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_answers(done.stdout, classifier, image)


@pytest.mark.parametrize("resize", get_args(Resize))
@pytest.mark.parametrize(("channels", "crop_fraction", "size"), [(1, 1.0, (50, 31)), (3, 0.7, (31, 77))])
def test_they_prepare_the_same_pixels(
    tmp_path: Path, resize: Resize, channels: int, crop_fraction: float, size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    classifier = made(
        tmp_path / "bundle", "onnx", channels=channels, resize=resize, crop_fraction=crop_fraction,
        input_size=(12, 15),
    )  # fmt: skip
    image = photo(tmp_path, size)
    monkeypatch.setattr(sys, "argv", ["answer.py", str(image)])
    monkeypatch.chdir(tmp_path / "bundle")
    found: dict[str, Any] = {}
    exec(program(tmp_path / "bundle", "python"), found)
    np.testing.assert_array_equal(found["pixels"][0], classifier.preprocess.read(image))


def test_images_of_many_channels_are_arrays(tmp_path: Path) -> None:
    classifier = tiny_classifier(channels=5)
    folder = export(classifier, tmp_path / "bundle", engine="onnx").folder
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5, 12, 12), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    command = [sys.executable, "-c", WITHOUT + program(folder, "python"), str(tmp_path / "pixels.npy")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    best = classifier.card.probabilities(classifier.logits(pixels)).argmax()
    assert done.stdout.split()[0] == classifier.classes[best]


@pytest.mark.slow
def test_the_cpp_program_compiles_and_answers(tmp_path: Path) -> None:
    import openvino

    package = Path(openvino.__file__).parent
    library = next((package / "libs").glob("libopenvino.so*"), None)
    if shutil.which("g++") is None or library is None or not (package / "include").is_dir():
        pytest.skip("needs g++ and OpenVINO's headers")
    classifier = made(tmp_path / "bundle", "openvino")
    image = photo(tmp_path, (61, 40))
    (tmp_path / "answer.cpp").write_text(program(tmp_path / "bundle", "cpp"))
    classifier.preprocess.read(image).tofile(tmp_path / "bundle" / "pixels.u8")
    compiled = subprocess.run(
        ["g++", "-std=c++17", "-O0", "answer.cpp", "-o", "answer", f"-I{package / 'include'}", str(library),
         f"-Wl,-rpath,{package / 'libs'}", "-Wl,--allow-shlib-undefined"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    done = subprocess.run([tmp_path / "answer"], cwd=tmp_path / "bundle", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    index, score = done.stdout.split()
    assert_answers(f"{classifier.classes[int(index)]} {score}", classifier, image)
