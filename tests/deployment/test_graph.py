"""Every row of the catalog as a graph: what it answers in PyTorch, ONNX Runtime and OpenVINO, and what is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from torch import nn

from classicnets.card import NoveltyThreshold
from classicnets.classifier import Classifier
from classicnets.deployment.graph import ScaleShift, deployable
from classicnets.deployment.onnx_file import check, to_onnx, write_onnx
from classicnets.errors import ExportMismatch
from classicnets.models.catalog import CATALOG, create
from classicnets.novelty import NoveltyScore
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.weights.config import num_features
from classifiers import tiny_classifier
from smaller import BARE, distinct, switches

SIX = ("alexnet_owt", "vgg16", "nin", "googlenet", "resnet50", "densenet121")


def classifier_of(
    name: str,
    size: tuple[int, int],
    *,
    channels: int = 3,
    num_classes: int = 5,
    has_novelty: bool = True,
    smaller: dict[str, Any] = BARE,
    **card: Any,
) -> Classifier:
    """A classifier with random weights, random batch-norm statistics and a random novelty score."""
    generator = torch.Generator().manual_seed(7)
    net = create(name, num_classes=num_classes, in_channels=channels, generator=generator, **switches(name, smaller))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.3, 2.0, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    preprocess = Preprocess(input_size=size, mean=(0.45,) * channels, std=(0.2,) * channels)
    classes = tuple(f"class {i}" for i in range(num_classes))
    if has_novelty:
        card |= {"novelty": NoveltyThreshold(1.0, 0.05, 10), "novelty_score": _novelty(num_features(net), generator)}
    return Classifier(model=net, model_name=name, classes=classes, preprocess=preprocess, **card)


def _novelty(width: int, generator: torch.Generator) -> NoveltyScore:
    basis = torch.linalg.qr(torch.randn(width, 2, generator=generator)).Q
    means = torch.randn(5, 2, generator=generator)
    return NoveltyScore(torch.rand(width, generator=generator) * 0.1, basis, torch.eye(2), means, torch.tensor(0.7))


def images_of(classifier: Classifier, n: int) -> torch.Tensor:
    shape = (n, classifier.preprocess.channels, *classifier.preprocess.input_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def expected(classifier: Classifier, images: torch.Tensor) -> list[np.ndarray]:
    outputs = classifier.outputs(images)
    found = [classifier.card.probabilities(outputs.logits).numpy()]
    return found if outputs.novelty is None else [*found, outputs.novelty.numpy()]


def by_onnxruntime(model: onnx.ModelProto, images: torch.Tensor) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})


def by_openvino(model: onnx.ModelProto, images: torch.Tensor) -> list[np.ndarray]:
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    return list(compiled(images.numpy()).values())


def assert_close(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", distinct(BARE))
def test_every_model_answers_alike_in_every_engine(name: str) -> None:
    config, place = CATALOG[name].config, distinct(BARE).index(name)
    side = max(config.min_size, 64 if config.image_size > 64 else 32)
    uneven, channels = place % 2, (1, 3, 4)[place % 3]
    classifier = classifier_of(
        name, (side + 5 * uneven, side + 3 * uneven), channels=channels, temperature=1.3,
        tta="flip" if uneven else "none",
    )  # fmt: skip
    images = images_of(classifier, 3)
    wanted = expected(classifier, images)
    assert wanted[0].std(axis=0).max() > 1e-6, "answers that are all the same prove nothing"
    network = deployable(classifier)
    with torch.inference_mode():
        assert_close([output.numpy() for output in network(images)], wanted)
    model = to_onnx(network)
    assert_close(by_onnxruntime(model, images), wanted)
    assert_close(by_openvino(model, images), wanted)
    assert not {"BatchNormalization", "Dropout"} & {node.op_type for node in model.graph.node}
    assert not any("aux_" in tensor.name for tensor in model.graph.initializer)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIX)
def test_the_main_rows_at_full_size(name: str) -> None:
    classifier = classifier_of(name, (224, 224), num_classes=1000, has_novelty=False, smaller={}, tta="flip")
    images = images_of(classifier, 2)
    wanted, model = expected(classifier, images), to_onnx(deployable(classifier))
    assert_close(by_onnxruntime(model, images), wanted)
    assert_close(by_openvino(model, images), wanted)


@pytest.mark.parametrize("n", [1, 2, 7, 32])
def test_any_number_of_images_at_a_time(n: int) -> None:
    classifier = tiny_classifier(tta="flip", temperature=0.6)
    images, model = images_of(classifier, n), to_onnx(deployable(classifier))
    assert_close(by_onnxruntime(model, images), expected(classifier, images))
    assert_close(by_openvino(model, images), expected(classifier, images))


def test_probabilities_of_zero_do_not_become_nan() -> None:
    classifier = tiny_classifier(tta="flip", temperature=0.7)
    with torch.no_grad():
        classifier.model.head.classifier.weight.mul_(1e4)
    images, model = images_of(classifier, 2), to_onnx(deployable(classifier))
    for found in (by_onnxruntime(model, images), by_openvino(model, images)):
        np.testing.assert_allclose(found[0].sum(axis=1), 1, atol=1e-5)


def test_batch_norms_are_folded_or_a_scale_and_a_shift() -> None:
    folded = deployable(classifier_of("resnet18", (64, 64)))
    assert not [m for m in folded.trunk.modules() if isinstance(m, ScaleShift | nn.BatchNorm2d)]
    before = deployable(classifier_of("densenet121", (64, 64)))
    kept = [name for name, m in before.named_modules() if isinstance(m, ScaleShift) and name != "normalise"]
    assert "trunk.dense1.layer1.bn1" in kept
    assert "trunk.dense1.layer1.bn2" not in kept, "it follows a convolution"
    assert not [m for m in before.modules() if isinstance(m, nn.BatchNorm2d)]


def test_the_classifier_stays_as_it_was() -> None:
    classifier = classifier_of("googlenet_bn", (64, 64))
    classifier.model.train()
    state = {key: value.clone() for key, value in classifier.model.state_dict().items()}
    deployable(classifier)
    assert classifier.model.training
    assert all(torch.equal(value, state[key]) for key, value in classifier.model.state_dict().items())


def test_a_graph_with_what_only_training_needs_is_refused() -> None:
    model = to_onnx(deployable(tiny_classifier()))
    model.graph.node.append(onnx.helper.make_node("Dropout", ["images"], ["dropped"], name="dropped"))
    with pytest.raises(ExportMismatch, match=r"not valid|only training needs: Dropout"):
        check(model)


def test_the_file_holds_everything_and_says_its_classes(tmp_path: Any) -> None:
    write_onnx(deployable(tiny_classifier()), tmp_path / "model.onnx", metadata={"classes": ["a", "b", "ü"]})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"classes": '["a", "b", "ü"]'}
    (pixels,) = model.graph.input
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in pixels.type.tensor_type.shape.dim] == ["N", 1, 12, 12]


def test_normalisation_is_that_of_the_preprocessing() -> None:
    classifier = classifier_of("resnet18", (32, 32))
    card = replace(classifier.card, preprocess=Preprocess(input_size=(32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD))
    classifier = Classifier.of(card, classifier.model, classifier.novelty_score)
    images = images_of(classifier, 2)
    found = deployable(classifier).normalise(images.float())
    torch.testing.assert_close(found, classifier.preprocess.normalize(images), rtol=1e-5, atol=1e-6)
