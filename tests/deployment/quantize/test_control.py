"""The limit on the loss of accuracy: what is kept in higher precision, in which order, and when export fails."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classicnets.deployment.quantize import control, quantize_within
from classicnets.deployment.quantize.families import RULES, Rule, kept_by_rule
from classicnets.deployment.quantize.layers import Layers
from classicnets.errors import ExportMismatch
from classicnets.models.catalog import FAMILIES
from onnx_answers import by_onnxruntime

LAYERS = ("trunk.a.conv", "trunk.b.conv1", "trunk.b.conv2", "trunk.c.conv", "trunk.d.conv")
LABELS = np.arange(100) % 2
REFERENCE = np.eye(2, dtype=np.float32)[LABELS] * 0.8 + 0.1  # right everywhere


class FakeEngine:
    """Layers in int8 turn the answers of some images: `harm` says of how many, for each layer."""

    def __init__(self, harm: dict[str, int]) -> None:
        self.harm, self.asked = harm, list[tuple[set[str], int]]()

    def quantize(
        self, source: Path, out: Path, images: NDArray[np.uint8], *, higher: Collection[str], narrow: bool | None
    ) -> Layers:
        self.asked.append((set(higher), len(images)))
        out.write_text(" ".join(layer for layer in LAYERS if layer not in higher))
        out.with_suffix(".bin").write_text("weights")
        return Layers(
            tuple(layer for layer in LAYERS if layer not in higher), tuple(layer for layer in LAYERS if layer in higher)
        )

    def answer(self, path: Path) -> NDArray[np.float32]:
        wrong = sum(self.harm.get(layer, 0) for layer in path.read_text().split())
        answers = REFERENCE.copy()
        answers[:wrong] = answers[:wrong, ::-1]
        return answers


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine({})
    monkeypatch.setattr(control, "quantize_openvino", engine.quantize)
    monkeypatch.setattr(control, "read_folded", lambda path: None)
    monkeypatch.setattr(control, "openvino_layers", lambda model: Layers((), LAYERS))
    return engine


def within(fake: FakeEngine, out: Path, max_drop: float, **others: Any) -> control.Quantized:
    return quantize_within(
        "openvino", Path("fp32.xml"), out / "model.xml", np.zeros((200, 1, 8, 8), np.uint8), family="resnet",
        answer=fake.answer, reference=REFERENCE, labels=LABELS, max_drop=max_drop, **others,
    )  # fmt: skip


def test_nothing_more_is_kept_if_the_loss_is_within_the_limit(fake: FakeEngine, tmp_path: Path) -> None:
    fake.harm = {"trunk.c.conv": 1}
    made = within(fake, tmp_path, 1.0)
    assert made.drop == pytest.approx(1.0)
    assert len(fake.asked) == 1
    assert made.kept_higher == made.by_rule
    low, high = made.drop_interval
    assert low < 1 < high


def test_the_worst_block_is_kept_first(fake: FakeEngine, tmp_path: Path) -> None:
    fake.harm = {"trunk.b.conv1": 2, "trunk.b.conv2": 2, "trunk.c.conv": 1}
    said: list[str] = []
    made = within(fake, tmp_path, 1.5, progress=said.append)
    assert set(made.kept_higher) - set(made.by_rule) == {"trunk.b.conv1", "trunk.b.conv2"}
    assert made.drop == pytest.approx(1.0)
    assert made.layers.int8 == tuple(layer for layer in LAYERS if layer not in made.kept_higher)
    assert "trunk.b" in said[-1]
    assert made.to_dict()["kept_higher"] == list(made.kept_higher)
    sizes = [number for _, number in fake.asked]
    assert sizes[0] == sizes[-1] == 200  # what is measured is calibrated on all images, what is compared on few
    assert set(sizes[1:-1]) == {64}


def test_no_loss_at_all_can_be_asked_for(fake: FakeEngine, tmp_path: Path) -> None:
    fake.harm = {"trunk.d.conv": 1}
    made = within(fake, tmp_path, 0)
    assert made.drop == 0
    assert "trunk.d.conv" in made.kept_higher
    assert (tmp_path / "model.xml").is_file()


def test_a_loss_that_no_block_explains_is_refused_and_nothing_is_left(fake: FakeEngine, tmp_path: Path) -> None:
    fake.harm = dict.fromkeys(LAYERS, 4)
    with pytest.raises(ExportMismatch, match=r"int8 loses \d+\.00 points .* 0\.5 are allowed.*--max-drop") as caught:
        within(fake, tmp_path, 0.5)
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_int8_without_a_layer_in_int8_is_an_error(fake: FakeEngine, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(control, "kept_by_rule", lambda family, layers: list(layers))
    with pytest.raises(ExportMismatch, match="Nothing was quantised: all 5 layers"):
        within(fake, tmp_path, 0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_gain_is_a_drop_below_zero(fake: FakeEngine, tmp_path: Path) -> None:
    reference = REFERENCE.copy()
    reference[:3] = reference[:3, ::-1]
    made = quantize_within(
        "openvino", Path("fp32.xml"), tmp_path / "model.xml", np.zeros((8, 1, 8, 8), np.uint8), family="resnet",
        answer=fake.answer, reference=reference, labels=LABELS, max_drop=0,
    )  # fmt: skip
    assert made.drop == pytest.approx(-3.0)


def test_real_files_within_a_limit(digits: Any, tmp_path: Path) -> None:
    (reference,) = by_onnxruntime(digits.onnx, digits.images)
    made = quantize_within(
        "onnxruntime", digits.onnx, tmp_path / "int8.onnx", digits.calibration, family="resnet",
        answer=lambda path: by_onnxruntime(path, digits.images)[0], reference=reference, labels=digits.labels,
        max_drop=10.0,
    )  # fmt: skip
    assert made.counts.images == len(digits.labels)
    assert made.layers.int8
    assert made.drop <= 10.0
    right = (by_onnxruntime(made.path, digits.images)[0].argmax(1) == digits.labels).mean()
    assert made.counts.accuracy_second == pytest.approx(right)


def test_every_family_has_a_rule_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(RULES) == {family.name for family in FAMILIES}
    monkeypatch.setitem(RULES, "resnet", Rule(("trunk.b.*",), "for this test"))
    assert kept_by_rule("resnet", LAYERS) == ["trunk.b.conv1", "trunk.b.conv2"]
    assert kept_by_rule("a family of one's own", LAYERS) == []
