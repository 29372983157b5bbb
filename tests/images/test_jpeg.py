"""JPEGs whose chroma sampling simplejpeg refuses: Pillow decodes them, and damage is still refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from classicnets.errors import BadImage
from classicnets.images import image_size, read_image
from classicnets.preprocess import Preprocess
from photos import encode, make_photo

RARE = {
    "4:1:0": [(4, 2), (1, 1), (1, 1)],
    "3x1": [(3, 1), (1, 1), (1, 1)],
    "2x4": [(2, 4), (1, 1), (1, 1)],
    "luma below chroma": [(1, 1), (2, 2), (2, 2)],
    "all different": [(2, 2), (2, 1), (1, 1)],
}
_LENGTHS = [0, 1, 5, 1, 1, 1, 1, 1, 1] + [0] * 7  # of the codes of the DC table: how many have 1 to 16 bits


def rare_jpeg(width: int, height: int, sampling: list[tuple[int, int]], restart: int = 0) -> bytes:
    """A baseline JPEG of flat 8x8 blocks with any sampling factors, and restart markers every `restart` units."""
    count = len(sampling)
    parts = [
        b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([8] * 64),
        b"\xff\xc0" + struct.pack(">HBHHB", 8 + 3 * count, 8, height, width, count),
        *(bytes([i + 1, h << 4 | v, 0]) for i, (h, v) in enumerate(sampling)),
        b"\xff\xc4" + struct.pack(">HB", 31, 0) + bytes(_LENGTHS) + bytes(range(12)),
        b"\xff\xc4" + struct.pack(">HB", 20, 16) + bytes([1] + [0] * 15) + b"\0",
        b"\xff\xdd" + struct.pack(">HH", 4, restart) if restart else b"",
        b"\xff\xda" + struct.pack(">HB", 6 + 2 * count, count),
        *(bytes([i + 1, 0]) for i in range(count)),
        bytes([0, 63, 0]),
    ]
    return b"".join(parts) + b"".join(_scan(width, height, sampling, restart)) + b"\xff\xd9"


def _scan(width: int, height: int, sampling: list[tuple[int, int]], restart: int) -> list[bytes]:
    codes = _codes()
    widest, highest = max(h for h, _ in sampling), max(v for _, v in sampling)
    random = np.random.default_rng(0)
    pieces, bits, before = [], "", [0] * len(sampling)
    units = -(-height // (8 * highest)) * -(-width // (8 * widest))
    for unit in range(units):
        if restart and unit and unit % restart == 0:
            pieces += [_packed(bits), bytes([0xFF, 0xD0 + (unit // restart - 1) % 8])]
            bits, before = "", [0] * len(sampling)
        for i, (h, v) in enumerate(sampling):
            for _ in range(h * v):
                value = int(random.integers(-60, 60)) if i == 0 else 20
                step, before[i] = value - before[i], value
                size = abs(step).bit_length()
                bits += codes[size]
                bits += f"{step if step > 0 else step + (1 << size) - 1:0{size}b}" if size else ""
                bits += "0"  # no AC values
    return [*pieces, _packed(bits)]


def _codes() -> list[str]:
    codes, code = [], 0
    for length, count in enumerate(_LENGTHS, start=1):
        for _ in range(count):
            codes.append(f"{code:0{length}b}")
            code += 1
        code <<= 1
    return codes


def _packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("sampling", RARE.values(), ids=RARE)
@pytest.mark.parametrize("size", [(96, 96), (33, 130), (9, 17), (1, 1)])
@pytest.mark.parametrize("restart", [0, 2])
def test_rare_sampling_is_decoded(sampling: list[tuple[int, int]], size: tuple[int, int], restart: int) -> None:
    data = rare_jpeg(*size, sampling, restart)
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(data)
    assert np.array_equal(read_image(data).permute(1, 2, 0).numpy(), pillow(data))
    assert image_size(data) == size[::-1]


def test_it_is_decoded_smaller_too() -> None:
    data = rare_jpeg(256, 192, RARE["4:1:0"])
    assert read_image(data, reduction=lambda height, width: 4).shape == (3, 48, 64)
    preprocess = Preprocess(input_size=(12, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert preprocess.reduction(192, 256) == 8
    full = preprocess.geometry(read_image(data))
    assert (torch.from_numpy(preprocess.read(data)).int() - full.int()).abs().float().mean() < 1


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-2],
    "without its last bytes": lambda data: data[:-40] + data[-2:],
    "with more bytes": lambda data: data[:-2] + bytes(40) + data[-2:],
    "a restart marker": lambda data: data[:-300] + b"\xff\xd3" + data[-298:],
    "a frame in the scan": lambda data: data[:-300] + b"\xff\xc0" + data[-298:],
    "the header's length": lambda data: data.replace(b"\xff\xc4\x00\x1f", b"\xff\xc4\x00\x1d"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused(damage: Callable[[bytes], bytes]) -> None:
    data = rare_jpeg(160, 160, RARE["4:1:0"])
    assert len(data) > 600
    with pytest.raises(BadImage, match=r"^cat: the data is damaged"):
        read_image(damage(data), name="cat")


def test_a_missing_or_wrong_restart_is_refused() -> None:
    data = rare_jpeg(160, 160, RARE["3x1"], restart=4)
    wrong = data.replace(b"\xff\xd1", b"\xff\xd2", 1)
    assert wrong != data
    with pytest.raises(BadImage, match=r"the data is damaged \(marker 0xd2 at byte"):
        read_image(wrong)


def test_flipped_bits_are_mostly_found() -> None:
    """As many as simplejpeg finds in other JPEGs, or nearly: a picture with some other values is a picture."""
    data = rare_jpeg(96, 96, RARE["4:1:0"])
    random = np.random.default_rng(0)
    start, refused = data.index(b"\xff\xda") + 14, 0
    for place in random.integers(start, len(data) - 2, 200):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(random.integers(8))
        try:
            read_image(bytes(flipped))
        except BadImage:
            refused += 1
    assert refused >= 60


class TestScans:
    """Each scan of a progressive JPEG goes through the whole picture, so a small file could take hours."""

    def test_too_many_are_refused(self) -> None:
        data = encode(make_photo("square", 7), progressive=True)
        last = data.rindex(b"\xff\xda")
        with pytest.raises(BadImage, match="more than 50 scans"):
            read_image(data[:-2] + data[last:-2] * 50 + data[-2:], name="many")

    def test_those_of_other_pictures_do_not_count(self) -> None:
        data = encode(make_photo("square", 7), progressive=True)
        comment = b"\xff\xfe" + struct.pack(">H", 1002) + b"\xff\xda" * 500
        more = data[:2] + comment + data[2:] + data * 20
        assert torch.equal(read_image(more), read_image(data))
