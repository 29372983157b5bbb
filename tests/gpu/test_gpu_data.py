"""On a GPU: batches, policies and logits are the CPU's, and nothing waits for the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from classicnets.card import Card
from classicnets.classifier import Classifier
from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.loader import Batch, Loader
from classicnets.data.pipeline.pack import Packed
from classicnets.data.pipeline.policy import OPERATIONS
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.step.validation import Validation

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
LEVEL = 1.01 / (255 * 0.2)  # one level of grey, normalised
PREPROCESS = Preprocess(input_size=(48, 48), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
KINDS = {
    "pad": {"augment": Augment(crop="pad", flip=True, jitter=0.2, erase=0.5)},
    "rotated": {"augment": Augment(crop="pad", flip=True, rotate=20, jitter=0.2)},
    "trivial": {"augment": Augment(policy="trivial", flip=True)},
    "rand": {"augment": Augment(policy="rand", erase=0.25)},
    "mixed": {"augment": Augment(mixup=0.2, cutmix=1.0)},
    "smaller": {"augment": Augment(cutmix=1.0, flip=True), "image_size": (32, 32)},
    "cropped": {"augment": Augment(crop="resized", flip=True, jitter=0.2)},
}


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Inside the block, an operation that waits for the GPU raises RuntimeError."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="module")
def packed() -> Packed:
    """Smooth images, as photos are, and one of noise."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(160, 3, 6, 6, generator=random)
    images = torch.nn.functional.interpolate(coarse, size=48, mode="bicubic").mul(300).sub(20).clamp(0, 255)
    images[0] = 255 * torch.rand(3, 48, 48, generator=random)
    return Packed(images.to(torch.uint8), torch.arange(160) % 10, tuple(map(str, range(160))), num_classes=10)


def batches(packed: Packed, device: torch.device, *, resident: Tensor | None = None, **options) -> list[Batch]:
    size = options.pop("image_size", None)
    loader = Loader(packed, PREPROCESS, batch_size=32, seed=1, device=device, resident=resident, **options)
    return list(loader.batches(2, image_size=size))


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "crossing"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_gpus_batches_are_the_cpus_to_one_level(gpu, packed, kind, resident):
    expected = batches(packed, torch.device("cpu"), **kind)
    there = packed.images.to(CUDA) if resident else None
    batches(packed, CUDA, resident=there, **kind)  # libraries may wait when they are used for the first time
    with nothing_waits():
        found = batches(packed, CUDA, resident=there, **kind)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.images.is_cuda
        assert torch.equal(ours.labels.cpu(), theirs.labels)
        assert torch.allclose(ours.targets.float().cpu(), theirs.targets.float(), atol=1e-6)
        apart = (ours.images.cpu() - theirs.images).abs() > LEVEL
        assert apart.float().mean() < 0.002  # of two equally near pixels, rounding chooses one


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_the_policies_is_the_cpus_to_one_level(gpu, packed, name):
    magnitudes = torch.linspace(0, 0.9, len(packed)) * (200 if name == "solarize" else 1)
    expected = OPERATIONS[name](packed.images, magnitudes)
    there = packed.images.to(CUDA)
    OPERATIONS[name](there, magnitudes)
    with nothing_waits():
        found = OPERATIONS[name](there, magnitudes)
    apart = (found.cpu().int() - expected.int()).abs() > 1
    assert apart.float().mean() < 0.002


def test_tf32_changes_no_augmentation(gpu, packed):
    there = packed.images.to(CUDA)
    exact = batches(packed, CUDA, resident=there, **KINDS["trivial"])
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        coarse = batches(packed, CUDA, resident=there, **KINDS["trivial"])
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    assert all(torch.equal(a.images, b.images) for a, b in zip(exact, coarse, strict=True))


def test_batches_are_the_same_while_the_gpu_is_busy(gpu, packed):
    """The next batch is made on a stream of its own: work that is queued on the main one must not disturb it."""
    calm = batches(packed, CUDA, **KINDS["pad"])
    loader = Loader(packed, PREPROCESS, batch_size=32, seed=1, device=CUDA, **KINDS["pad"])
    work = torch.randn(4096, 4096, device=CUDA)
    for ours, theirs in zip(loader.batches(2), calm, strict=True):
        for _ in range(10):
            work = (work @ work).clamp_(-1, 1)
        kept = ours.images.clone()
        del ours
        assert torch.equal(kept, theirs.images)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_validation_gives_the_cpus_logits_and_features(gpu, packed, tta):
    network = create("resnet20_cifar", num_classes=10, generator=torch.Generator().manual_seed(0)).eval()
    card = Card(model_name="resnet20_cifar", classes=tuple("abcdefghij"), preprocess=PREPROCESS, tta=tta)
    expected = Classifier.of(card, network).classified(packed.images)
    network.to(CUDA)
    precision = Precision.choose("fp32", CUDA)
    for resident in (packed.images.to(CUDA), None):
        found = Validation(card, packed, precision, 64, resident=resident).logits(network)
        assert found.device.type == "cpu"
        assert torch.allclose(found, expected.logits, atol=1e-3)
    classified = Classifier.of(card, network).classified(packed.images)
    assert torch.allclose(classified.features, expected.features, atol=1e-3)
