"""A GPU gets the CPU's batches, augments them itself, and is never waited for. The GPU is pretended."""

import pytest
import torch

from classicnets.data.pipeline import loader as loader_module
from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.loader import Loader
from classicnets.data.pipeline.pack import Packed
from classicnets.data.pipeline.photos import PackedPhotos
from classicnets.data.pipeline.policy import OPERATIONS, apply_policy
from classicnets.preprocess import Preprocess, luma
from classicnets.system import streams
from pretend_gpu import CUDA, OnGPU, PretendGPU

LEVEL = 1 / (255 * 0.2)  # one level of grey, normalised
KINDS = {
    "nothing": {"augment": Augment()},
    "pad": {"augment": Augment(crop="pad", padding=2, flip=True, jitter=0.2, erase=0.5)},
    "rotated": {"augment": Augment(crop="pad", padding=2, flip=True, rotate=20)},
    "trivial": {"augment": Augment(policy="trivial", flip=True)},
    "rand": {"augment": Augment(policy="rand", rotate=10, erase=0.25)},
    "mixed": {"augment": Augment(mixup=0.2, cutmix=1.0, mix_probability=0.7)},
    "smaller": {"augment": Augment(cutmix=1.0, flip=True), "image_size": (8, 8)},
    "balanced": {"augment": Augment(crop="pad"), "balanced": True},
    "cropped": {"augment": Augment(crop="resized", flip=True, policy="trivial", jitter=0.2)},
}


class Stream:
    """A stream that writes down what is asked of it."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")

    def record_event(self):
        self.log.append(f"{self.name} records")
        return f"event {self.log.count(f'{self.name} records')}"

    def wait_event(self, event):
        self.log.append(f"{self.name} waits for {event}")

    def __enter__(self):
        self.log.append(f"{self.name} begins")

    def __exit__(self, *_):
        self.log.append(f"{self.name} ends")


@pytest.fixture
def log(monkeypatch):
    """What streams are asked, in order. Memory is never pinned."""
    found = []
    main = Stream("main", found)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", found))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    for module in (streams, loader_module):
        monkeypatch.setattr(module, "pinned", lambda tensor: tensor.clone())
    return found


@pytest.fixture
def packed():
    images = torch.randint(0, 256, (70, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Packed(images, torch.arange(70) % 7, tuple(map(str, range(70))), num_classes=8)


def loader(packed, **changes):
    preprocess = Preprocess(input_size=(12, 12), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    return Loader(packed, preprocess, **{"batch_size": 16, "seed": 1, **changes})


def on_the_gpu(packed, gpu, *, resident=False, **options):
    size = options.pop("image_size", None)
    there = OnGPU(packed.images) if resident else None
    made = loader(packed, device=CUDA, resident=there, **options)
    return list(made.batches(2, image_size=size))


def close(ours, theirs):
    """The share of values that are more than one level apart."""
    return ((ours.values - theirs).abs() > 1.01 * LEVEL).float().mean()


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "crossing"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_gpu_gets_the_cpus_batches_and_is_never_waited_for(packed, log, kind, resident):
    options = dict(kind)
    size = options.pop("image_size", None)
    expected = list(loader(packed, **options).batches(2, image_size=size))
    with PretendGPU() as gpu:
        found = on_the_gpu(packed, gpu, resident=resident, **kind)
    assert gpu.waits == []
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.images.device == ours.targets.device == ours.labels.device == CUDA
        assert ours.images.values.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(ours.indices, theirs.indices)
        assert torch.equal(ours.labels.values, theirs.labels)
        assert torch.equal(ours.targets.values, theirs.targets)
        assert close(ours.images, theirs.images) < 0.01


def test_photos_are_cropped_on_the_cpu_and_changed_on_the_gpu(log):
    random = torch.Generator().manual_seed(0)
    photos = [torch.randint(0, 256, (3, 20 + i, 30 - i), dtype=torch.uint8, generator=random) for i in range(8)]
    packed = PackedPhotos(photos.__getitem__, torch.arange(8) % 2, tuple("abcdefgh"), 2, "in memory")
    options = {"augment": Augment(crop="resized", jitter=0.2, erase=0.5, mixup=0.2), "batch_size": 4}
    expected = list(loader(packed, **options).batches(0))
    with PretendGPU() as gpu:
        found = list(loader(packed, device=CUDA, **options).batches(0))
    assert gpu.waits == []
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.images.values, theirs.images, atol=1e-4)


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_a_policy_gives_every_image_of_a_gpu_its_own_operation(policy, log):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (140, 3, 16, 18), dtype=torch.uint8, generator=random)
    draws = torch.rand(140, 6, generator=random)
    expected = apply_policy(images, draws, policy, 2, 9)
    with PretendGPU() as gpu:
        found = apply_policy(OnGPU(images), draws, policy, 2, 9)
    assert gpu.waits == []
    assert ((found.values.int() - expected.int()).abs() > 1).float().mean() < 0.002  # of two equally near pixels, one


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_on_a_gpu_what_it_does_on_the_cpu(name, log):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 3, 16, 18), dtype=torch.uint8, generator=random)
    magnitudes = torch.linspace(-0.83, 0.79, 10).abs() * (100 if name == "solarize" else 1)
    with PretendGPU() as gpu:
        found = OPERATIONS[name](OnGPU(images), magnitudes)
    assert gpu.waits == []
    assert torch.equal(found.values, OPERATIONS[name](images, magnitudes))


def test_luma_of_images_on_a_gpu_stays_there(log):
    images = torch.randint(0, 256, (4, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with PretendGPU() as gpu:
        grey = luma(OnGPU(images))
    assert gpu.waits == []
    assert torch.equal(grey.values, luma(images))


def test_the_next_batch_is_made_before_this_one_is_used_and_each_is_waited_for(packed, log):
    with PretendGPU():
        for number, _ in enumerate(loader(packed, augment=Augment(), device=CUDA).batches(0)):
            log.append(f"batch {number + 1} is used")
    made = ["side begins", "side records", "side ends"]
    assert log == [
        "side waits for main",
        *made, *made, "main waits for event 1", "batch 1 is used",
        *made, "main waits for event 2", "batch 2 is used",
        *made, "main waits for event 3", "batch 3 is used",
        "main waits for event 4", "batch 4 is used",
    ]  # fmt: skip


def test_a_batch_moves_to_a_gpu_without_being_waited_for(packed, log):
    batch = next(iter(loader(packed, augment=Augment()).batches(0)))
    with PretendGPU() as gpu:
        there = batch.on(CUDA)
        assert there.on(CUDA).images is there.images
    assert gpu.waits == []
    assert there.images.device == there.labels.device == there.targets.device == CUDA
    assert there.indices is batch.indices
    assert batch.on(torch.device("cpu")).images is batch.images


def test_the_pretended_gpu_notices_mixing_and_waiting():
    with PretendGPU() as gpu:
        there = torch.ones(3).to(CUDA)
        assert gpu.waits == ["aten._to_copy.default"]
        with pytest.raises(AssertionError, match="on the GPU and on the CPU"):
            there + torch.ones(3)
        for look in (lambda: there.sum().item(), lambda: there[there > 0], there.nonzero, there.cpu):
            gpu.waits.clear()
            look()
            assert gpu.waits


def test_pixels_come_from_threads_unless_the_gpu_has_them(packed, monkeypatch):
    monkeypatch.setattr(loader_module, "usable_cores", lambda: 6)
    plain = {"augment": Augment()}
    assert loader(packed, **plain).threads == 0
    assert loader(packed, device=CUDA, **plain).threads == 5
    assert loader(packed, device=CUDA, workers=3, **plain).threads == 3
    assert loader(packed, device=CUDA, resident=packed.images, **plain).threads == 0
    decoding = PackedPhotos(lambda i: packed.images[i], packed.labels, packed.ids, 8, "decoded", workers=None)
    assert loader(decoding, device=CUDA, **plain).threads == 2
