"""What the page asks the server for: its files, the models in words, and example images."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import classicnets.serving.page
from bundles import rewrite, write_bundle
from classicnets.data import load_data
from classicnets.serving.models import Served
from classicnets.serving.page.static import FILES, PUBLIC
from classifiers import tiny_classifier
from servers import Server, png, running


def test_the_page_and_its_files(server: Server) -> None:
    page = server.ask("GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for name, kind in FILES.items():
        reply = server.ask("GET", f"/page/{name}")
        assert (reply.status, reply.headers["content-type"]) == (200, kind)


def test_the_table_has_every_file_of_the_folder() -> None:
    folder = files(classicnets.serving.page)
    found = {file.name for file in folder.iterdir() if Path(file.name).suffix in (".js", ".css", ".svg")}
    assert found == set(FILES)


def test_no_other_server_and_nothing_inline() -> None:
    folder = files(classicnets.serving.page)
    for name in ("index.html", *FILES):
        text = folder.joinpath(name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, name
        assert " style=" not in text, name
        assert "innerHTML" not in text, name


@pytest.mark.parametrize("path", ["/page/none", "/page/index.html", "/page/..%2f__init__.py", "/page/%2e%2e/app.py"])
def test_no_other_file(server: Server, path: str) -> None:
    assert server.ask("GET", path).status == 404


def test_what_needs_no_key(bundle: Path) -> None:
    with running([Served("tiny", bundle)], key="secret") as locked:
        for path in PUBLIC:
            assert locked.ask("GET", path).status == 200
        for path in ("/page/models", "/page/examples/tiny", "/page/examples/tiny/0", "/page/none", "/inside/none"):
            assert locked.ask("GET", path).status == 401
            assert locked.ask("GET", path, headers={"X-API-Key": "secret"}).status != 401


class TestModels:
    @pytest.fixture
    def described(self, trusted: Path) -> tuple[dict, str]:
        with running([Served("trusted", trusted)], body=1000) as server:
            reply = server.ask("GET", "/page/models")
        return reply.json(), reply.body.decode()

    def test_what_it_is_worth(self, described: tuple[dict, str]) -> None:
        (model,) = described[0]["models"]
        assert (model["coverages"], model["calibrated"]) == ([0.8, 0.9, 0.95], True)
        assert described[0]["largest"] == 1000
        words = {title: dict(rows) for title, rows in ((part["title"], part["rows"]) for part in model["sections"])}
        assert words["How good it is"]["Right"] == "91.2 % (95 % interval 88.0 to 93.0)"
        assert words["How far to trust it"]["Scores"] == "calibrated on 60 validation images"
        assert words["How it was trained"]["Epochs"] == "3, the best one was epoch 2"

    def test_no_path_of_the_machine(self, described: tuple[dict, str]) -> None:
        assert "/home" not in described[1]

    def test_what_is_not_known_is_said(self, server: Server) -> None:
        (model,) = server.ask("GET", "/page/models").json()["models"]
        assert (model["coverages"], model["calibrated"]) == ([], False)
        notes = {part["title"]: part["note"] for part in model["sections"]}
        assert notes["How good it is"] == "Not measured yet. `classicnets evaluate` measures it."


class TestExamples:
    def test_of_a_bundle(self, server: Server) -> None:
        found = server.ask("GET", "/page/examples/tiny").json()["examples"]
        assert found == [{"name": f"{k}.png", "truth": ""} for k in range(3)]
        reply = server.ask("GET", "/page/examples/tiny/1")
        assert reply.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(reply.body)).getpixel((0, 0)) == (40, 200, 40)
        assert server.ask("GET", "/page/examples/tiny/3").status == 404
        assert server.ask("GET", "/page/examples/tiny/-1").status == 404
        assert server.ask("GET", "/page/examples/other").status == 404

    def test_a_file_that_the_bundle_does_not_vouch_for_is_none(self, tmp_path: Path) -> None:
        folder = write_bundle(tmp_path / "tiny")
        (tmp_path / "secret.png").write_bytes(png(0))
        golden = Served("tiny", folder).scorer.manifest.golden
        rewrite(folder, golden=(msgspec.structs.replace(golden[0], file="../secret.png"), *golden[1:]))
        with running([Served("tiny", folder)]) as server:
            found = server.ask("GET", "/page/examples/tiny").json()["examples"]
        assert [example["name"] for example in found] == ["1.png", "2.png"]

    def test_of_a_run_they_are_validation_images_of_every_class(self, photo_folder: Path, tmp_path: Path) -> None:
        data = load_data(photo_folder, seed=0, val_fraction=0.3, test_fraction=0.2)
        known = {
            "source": str(photo_folder), "split_seed": 0, "val_fraction": 0.3, "test_fraction": 0.2, "on_error": "fail",
            "fingerprint": data.fingerprint(),
        }  # fmt: skip
        classifier = tiny_classifier(data.train.classes, channels=3, provenance={"data": known})
        folder = classifier.save(tmp_path / "net")
        with running([Served("net", folder)]) as server:
            found = server.ask("GET", "/page/examples/net").json()["examples"]
            first = server.ask("GET", "/page/examples/net/0")
        assert {example["truth"] for example in found[:3]} == set(data.train.classes)
        assert len(found) == min(8, len(data.val))
        assert {example["name"] for example in found} <= {Path(name).name for name in data.val.ids}
        assert first.headers["content-type"] == "image/jpeg"

    def test_images_that_are_gone_are_none(self, network: Path) -> None:
        with running([Served("pets", network)]) as server:
            assert server.ask("GET", "/page/examples/pets").json() == {"examples": []}


class TestOcclusion:
    def test_the_place_that_decides_is_brightest(self, server: Server) -> None:
        pixels = np.full((8, 8, 3), 120, np.uint8)
        pixels[0:2, 4:6] = (255, 0, 0)
        reply = server.ask("POST", "/page/occlusion/tiny?class=red", encoded(pixels))
        found = reply.json()
        heat = np.array(found["heat"])
        assert np.unravel_index(heat.argmax(), heat.shape) in {(row, column) for row in (0, 1) for column in (4, 5)}
        assert (heat.max(), heat.min()) == (1, 0)
        assert (found["class"], found["empty"], found["picture_size"]) == ("red", False, [8, 8])
        assert found["window"] == {"top": 0, "left": 0, "height": 8, "width": 8}

    def test_the_answer_is_the_class_if_none_is_named(self, server: Server) -> None:
        assert server.ask("POST", "/page/occlusion/tiny", png(2)).json()["class"] == "blue"

    def test_a_large_picture(self, server: Server) -> None:
        found = server.ask("POST", "/page/occlusion/tiny", encoded(np.zeros((1500, 3000, 3), np.uint8))).json()
        assert found["picture_size"] == [512, 1024]
        assert found["window"]["left"] == pytest.approx(256, abs=2)

    def test_mistakes(self, server: Server) -> None:
        reply = server.ask("POST", "/page/occlusion/tiny?class=rot", png(0))
        assert (reply.status, reply.json()["error"][:20]) == (400, "No class named 'rot'")
        assert server.ask("POST", "/page/occlusion/tiny", b"text").status == 400


def encoded(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
