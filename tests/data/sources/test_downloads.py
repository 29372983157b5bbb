"""Fashion-MNIST in its four ways and CIFAR-10: against a server on this machine and a package made here."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import shutil
import socket
import stat
import struct
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, FashionMNIST

from classicnets.data import find_fashion_mnist, load_data
from classicnets.data.sources import cifar10, fashion_mnist
from classicnets.data.sources.fashion_mnist import read_idx
from classicnets.errors import DataError
from classicnets.system.cache import cache_dir
from classicnets.system.network import patience
from fashion import idx, write_fashion

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def check_fashion(*, train: int = 60) -> None:
    data = load_data("fashion-mnist")
    assert data.test is not None
    assert len(data.train) + len(data.val) == train
    assert len(data.test) == 20
    assert data.classes[0] == "T-shirt/top"
    assert data.classes[9] == "Ankle boot"
    assert (data.name, data.source) == ("fashion-mnist", "fashion-mnist")
    for images in data.parts.values():
        assert images.images is not None
        assert images.images.shape[1:] == (1, 28, 28)
        assert torch.equal(images.images[:, 0, 0, 0].long(), images.labels)
    assert data.test.ids[0] == "test/00000"


@pytest.fixture(autouse=True)
def nothing_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no system folder, no network, no apt-get."""
    monkeypatch.setenv("CLASSICNETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "system")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    monkeypatch.setattr(FashionMNIST, "mirrors", [closed])
    monkeypatch.setattr(CIFAR10, "url", f"{closed}cifar-10-python.tar.gz")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/", folder
        httpd.shutdown()
        thread.join()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class TestFashionMnist:
    def test_from_the_cache(self, tmp_path: Path) -> None:
        write_fashion(tmp_path / "cache/fashion-mnist")
        check_fashion()
        assert find_fashion_mnist() == tmp_path / "cache/fashion-mnist"

    def test_from_the_cache_uncompressed(self, tmp_path: Path) -> None:
        folder = write_fashion(tmp_path / "cache/fashion-mnist")
        for name in NAMES:
            (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress((folder / name).read_bytes()))
            (folder / name).unlink()
        check_fashion()

    def test_from_the_systems_folder_which_stays_as_it_is(self, tmp_path: Path) -> None:
        write_fashion(tmp_path / "system")
        check_fashion()
        assert find_fashion_mnist() == tmp_path / "system"
        assert not cache_dir().exists()

    def test_downloaded_once(
        self, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        address, served = server
        write_fashion(served)
        monkeypatch.setattr(FashionMNIST, "mirrors", [address])
        monkeypatch.setattr(FashionMNIST, "resources", [(name, md5(served / name)) for name in NAMES])
        assert find_fashion_mnist() is None
        check_fashion()
        assert capfd.readouterr().out == "", "progress belongs on stderr"
        assert sorted(path.name for path in cache_dir().iterdir()) == ["fashion-mnist"]
        assert sorted(path.name for path in (cache_dir() / "fashion-mnist").iterdir()) == sorted(NAMES)
        shutil.rmtree(served)
        check_fashion()

    def test_a_download_with_another_checksum_is_not_kept(
        self, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address, served = server
        write_fashion(served)
        monkeypatch.setattr(FashionMNIST, "mirrors", [address])
        with pytest.raises(DataError, match="torchvision's download: File not found or corrupted"):
            load_data("fashion-mnist")
        assert list(cache_dir().iterdir()) == []

    def test_from_debians_package_without_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A real .deb and a real dpkg-deb; apt-get is one that has the package already."""
        tools = {name: shutil.which(name, path="/usr/bin:/bin") for name in ("dpkg-deb", "tar", "cp", "xz", "rm")}
        if not tools["dpkg-deb"]:
            pytest.skip("no dpkg-deb on this machine")
        root = tmp_path / "package"
        write_fashion(root / "usr/share/datasets/fashion-mnist")
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text(
            "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
        )
        (tmp_path / "store").mkdir()
        package = tmp_path / "store/dataset-fashion-mnist_1_all.deb"
        path = {**os.environ, "PATH": "/usr/bin:/bin"}
        subprocess.run([tools["dpkg-deb"], "--build", root, package], check=True, capture_output=True, env=path)
        for name, tool in tools.items():
            if tool:
                (tmp_path / "bin" / name).symlink_to(tool)
        write_program(tmp_path / "bin/apt-get", f'echo "$@" >> {tmp_path}/asked; cp {package} .')
        check_fashion()
        assert (tmp_path / "asked").read_text() == "download dataset-fashion-mnist\n"
        assert [path.name for path in cache_dir().iterdir()] == ["fashion-mnist"]
        check_fashion()
        assert (tmp_path / "asked").read_text().count("\n") == 1, "the second time it is in the cache"

    def test_the_cache_goes_before_the_system(self, tmp_path: Path) -> None:
        write_fashion(tmp_path / "cache/fashion-mnist", train=80)
        write_fashion(tmp_path / "system", train=60)
        check_fashion(train=80)

    def test_a_damaged_cache_is_passed_over(self, tmp_path: Path) -> None:
        folder = write_fashion(tmp_path / "cache/fashion-mnist")
        (folder / NAMES[0]).write_bytes((folder / NAMES[0]).read_bytes()[:500])
        write_fashion(tmp_path / "system")
        check_fashion()

    def test_no_way_names_all_four_and_the_way_out(self, tmp_path: Path) -> None:
        write_program(
            tmp_path / "bin/apt-get", 'echo "W: nothing" >&2; echo "E: Unable to locate package" >&2; exit 100'
        )
        with pytest.raises(DataError) as caught:
            load_data("fashion-mnist")
        lines = str(caught.value).splitlines()
        assert lines[0] == "Fashion-MNIST cannot be found or downloaded:"
        assert lines[1] == f"  the cache ({tmp_path}/cache/fashion-mnist): there is no train-images-idx3-ubyte.gz"
        assert lines[2] == f"  the system's folder ({tmp_path}/system): there is no train-images-idx3-ubyte.gz"
        assert lines[3].startswith("  torchvision's download: ")
        assert "refused" in lines[3]
        assert lines[4] == "  apt-get download dataset-fashion-mnist: apt-get failed: E: Unable to locate package"
        assert lines[5].endswith("or use `digits`, which needs no download.")
        assert find_fashion_mnist() is None

    def test_without_apt_get(self) -> None:
        with pytest.raises(DataError, match="there is no apt-get on this machine"):
            load_data("fashion-mnist")

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file where the folder should be")
        with pytest.raises(DataError, match=r"torchvision's download: .*File exists"):
            load_data("fashion-mnist")


class TestIdx:
    def write(self, folder: Path, data: bytes, *, name: str = "x-ubyte.gz") -> Path:
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return folder / name

    @pytest.mark.parametrize("name", ["x-ubyte.gz", "x-ubyte"])
    def test_values(self, tmp_path: Path, name: str) -> None:
        array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
        assert np.array_equal(read_idx(self.write(tmp_path, idx(array), name=name), dimensions=3), array)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", r"is damaged"),
            (b"\0\0\x08\x03\0\0", r"is damaged"),
            (b"\0\0\x0d\x03" + bytes(12), r"is not an IDX file of uint8 in 3 dimensions \(it begins with 0x00000d03\)"),
            (idx(np.zeros((4, 4), np.uint8)) + bytes(8), r"is not an IDX file of uint8 in 3 dimensions"),
            (idx(np.zeros((2, 3, 4), np.uint8))[:-1], r"holds fewer values than its header says \(24\)"),
            (idx(np.zeros((2, 3, 4), np.uint8)) + b"\0", r"holds more values than its header says \(24\)"),
            (
                struct.pack(">4I", 0x803, 2**31, 2**31, 2**31),
                r"says that it holds 9,903,520,314,283,042,199,192,993,792 bytes",
            ),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, data: bytes, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_idx(self.write(tmp_path, data), dimensions=3)

    def test_damaged_gzip(self, tmp_path: Path) -> None:
        whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (9, 9, 9), dtype=np.uint8)))
        for data in (whole[:100], b"no gzip", whole[:60] + b"\xff" * 30 + whole[90:]):
            (tmp_path / "x.gz").write_bytes(data)
            with pytest.raises(DataError, match="is damaged"):
                read_idx(tmp_path / "x.gz", dimensions=3)

    def test_a_gzip_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, idx(np.zeros((1, 2, 2), np.uint8)) + bytes(50_000_000))
        with pytest.raises(DataError, match=r"holds more values than its header says \(4\)"):
            read_idx(path, dimensions=3)

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            ((5, 28, 27), [0, 1, 2, 3, 4], "holds images of 28x27 pixels instead of 28x28"),
            ((5, 28, 28), [0, 1, 2, 3], "holds 5 images and train-labels-idx1-ubyte.gz 4 labels"),
            ((2, 28, 28), [0, 10], "holds a label above 9"),
            ((0, 28, 28), [], "holds no values"),
        ],
    )
    def test_sets_that_do_not_fit(
        self, tmp_path: Path, images: tuple[int, ...], labels: list[int], message: str
    ) -> None:
        folder = write_fashion(tmp_path / "cache/fashion-mnist")
        (folder / NAMES[0]).write_bytes(gzip.compress(idx(np.zeros(images, np.uint8))))
        (folder / NAMES[1]).write_bytes(gzip.compress(idx(np.array(labels, np.uint8))))
        with pytest.raises(DataError, match=message):
            load_data("fashion-mnist")


class TestCifar10:
    def serve(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tiny CIFAR-10 in the true layout, with its checksums in torchvision."""
        random = np.random.default_rng(0)
        files = {}
        for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
            labels = list(range(10)) * 2
            data = random.integers(0, 256, (20, 3072), dtype=np.uint8)
            data[:, 0], data[:, 1024], data[:, 2048] = labels, 100, 200  # the first pixel of each channel
            files[name] = pickle.dumps({"data": data, "labels": labels})
        classes = "airplane automobile bird cat deer dog frog horse ship truck"
        files["batches.meta"] = pickle.dumps({"label_names": classes.split(" ")})
        with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
        monkeypatch.setattr(cifar10, "_MD5", {name: sums[name] for name in cifar10._MD5})
        monkeypatch.setattr(CIFAR10, "tgz_md5", md5(folder / "cifar-10-python.tar.gz"))
        monkeypatch.setattr(CIFAR10, "train_list", [[n, s] for n, s in sums.items() if n.startswith("data")])
        monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
        monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})

    def test_downloaded_once(
        self, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        address, served = server
        self.serve(served, monkeypatch)
        monkeypatch.setattr(CIFAR10, "url", f"{address}cifar-10-python.tar.gz")
        for _ in range(2):
            data = load_data("cifar10")
            assert data.test is not None
            assert (len(data.train), len(data.val), len(data.test)) == (90, 10, 20)
            assert (data.classes[0], data.classes[9]) == ("airplane", "truck")
            for images in data.parts.values():
                assert images.images is not None
                assert images.images.shape[1:] == (3, 32, 32)
                assert torch.equal(images.images[:, 0, 0, 0].long(), images.labels)
                assert images.images[:, 1:, 0, 0].unique(dim=0).tolist() == [[100, 200]]
            (served / "cifar-10-python.tar.gz").unlink(missing_ok=True)
        assert capfd.readouterr().out == ""

    def test_a_file_that_is_not_the_known_one_is_not_opened(self, tmp_path: Path) -> None:
        batches = tmp_path / "cache/cifar10/cifar-10-batches-py"
        batches.mkdir(parents=True)
        for name in cifar10._MD5:
            (batches / name).write_bytes(pickle.dumps({"data": np.zeros((20, 3072), np.uint8), "labels": [0] * 20}))
        with pytest.raises(DataError, match="cannot be downloaded"):
            load_data("cifar10")

    def test_offline_says_where_to_put_it(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"(?s)cannot be downloaded from http.*refused.*Unpack cifar-10-python.tar.gz in"
        ):
            load_data("cifar10")


def test_patience_is_lent() -> None:
    assert socket.getdefaulttimeout() is None
    with (
        patience(0.05),
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_connection(silent.getsockname()) as connection,
        pytest.raises(TimeoutError),
    ):
        connection.recv(1)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CLASSICNETS_CACHE": "/a/b"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/classicnets"),
        ({}, "/home/someone/.cache/classicnets"),
        ({"CLASSICNETS_CACHE": "~/c"}, "/home/someone/c"),
    ],
)
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    for name in ("CLASSICNETS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)
