"""The page in a real browser: a key, several models, heat maps, many images, programs to copy."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import barriers, check, image_file, opened, overflow
from classicnets.serving.models import Served
from servers import Server, png, running


@pytest.fixture(scope="module")
def served(trusted: Path, network: Path, bundle: Path) -> Iterator[Server]:
    models = [Served("colours", trusted), Served("pets", network), Served("tiny", bundle), Served("again", bundle)]
    with running(models, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def tab(browser: Browser, served: Server) -> Iterator[Page]:
    with opened(browser, f"http://127.0.0.1:{served.port}/") as made:
        yield made


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """The page, loaded again in the same tab. Files that are no images are answered with 400."""
    tab.reload()
    expect(tab.locator("#try")).to_be_visible()
    yield tab
    check(tab, "400")


def choose(page: Page, *files) -> None:
    page.locator("#files").set_input_files(list(files))


class TestKey:
    @pytest.fixture
    def locked(self, bundle: Path) -> Iterator[Server]:
        with running([Served("tiny", bundle)], key="se=cret") as made:
            yield made

    def test_it_is_asked_for_and_kept_in_the_tab(self, browser: Browser, locked: Server) -> None:
        url = f"http://127.0.0.1:{locked.port}/"
        with opened(browser, url, expected=["401"]) as page:
            asked = []
            page.on("request", lambda request: asked.append(request.url))
            expect(page.get_by_label("Key")).to_be_focused()
            assert barriers(page) == []
            page.keyboard.type("schlüssel")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("A key holds letters, digits and signs")
            page.get_by_label("Key").fill("wrong")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_have_text("This key is not the right one. Type it again.")
            page.get_by_label("Key").fill("se=cret")
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", level=1)).to_have_text("Red, green or blue?")
            expect(page.locator("#toast")).to_be_hidden()
            choose(page, image_file("red.png", png(0)))
            expect(page.locator(".best strong")).to_have_text("red")
            expect(page.locator("#code-list pre").first).to_contain_text('-H "X-API-Key: $KEY"')
            assert "se=cret" not in page.locator("#code-list").inner_text()
            assert not [address for address in [page.url, *asked] if "cret" in address]
            assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
            page.reload()
            expect(page.get_by_role("heading", level=1)).to_have_text("Red, green or blue?")


class TestSeveral:
    def test_they_answer_side_by_side(self, page: Page) -> None:
        expect(page.get_by_role("checkbox", name="again")).not_to_be_checked()
        page.get_by_role("checkbox", name="pets").uncheck()
        choose(page, image_file("green.png", png(1)))
        expect(page.locator("#together")).to_have_text("Both models say green.")
        assert page.locator(".answer h2").all_inner_texts() == ["colours", "tiny"]
        expect(page.locator(".answer .doubt").first).to_contain_text("Of 100 answers with such a score")
        expect(page.locator(".answer .doubt").last).to_contain_text("The score is not calibrated")
        boxes = [page.locator(".answer").nth(i).bounding_box() for i in range(2)]
        assert boxes[0]["y"] == boxes[1]["y"]

    def test_a_model_that_is_added_is_asked(self, page: Page) -> None:
        choose(page, image_file("green.png", png(1)))
        expect(page.locator("#together")).to_contain_text("The models disagree: 2 say green, 1 says")
        page.get_by_role("checkbox", name="again").check()
        expect(page.locator(".answer .best")).to_have_count(4)
        expect(page.locator("#together")).to_contain_text("3 say green")

    def test_none_is_chosen(self, page: Page) -> None:
        for name in ("colours", "pets", "tiny"):
            page.get_by_role("checkbox", name=name).uncheck()
        choose(page, image_file("green.png", png(1)))
        expect(page.get_by_role("alert")).to_have_text("Choose a model first: none is asked now.")

    def test_the_last_one_is_taken_away_from_an_image(self, page: Page) -> None:
        choose(page, image_file("green.png", png(1)))
        expect(page.locator(".answer .best")).to_have_count(3)
        for name in ("colours", "pets", "tiny"):
            page.get_by_role("checkbox", name=name).uncheck()
        expect(page.get_by_role("alert")).to_have_text("Choose a model: none is asked now.")
        expect(page.locator("#together")).to_be_hidden()
        expect(page.locator(".answer")).to_have_count(0)
        page.get_by_role("checkbox", name="tiny").check()
        expect(page.locator(".answer .best strong")).to_have_text("green")
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_nothing_keeps_people_out(self, page: Page) -> None:
        page.emulate_media(reduced_motion="reduce")
        choose(page, image_file("green.png", png(1)))
        expect(page.locator(".answer .best")).to_have_count(3)
        page.get_by_role("button", name="Show where it looks").click()
        expect(page.locator("#map")).to_be_visible()
        assert barriers(page) == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert overflow(page) == 0
        page.set_viewport_size({"width": 1280, "height": 900})


class TestHeat:
    def test_a_map_over_the_photo(self, page: Page) -> None:
        choose(page, image_file("green.png", png(1)))
        expect(page.locator(".answer .best")).to_have_count(3)
        page.get_by_role("button", name="Show where it looks").click()
        expect(page.get_by_role("img", name="Heat map for")).to_be_visible()
        photo, drawn = (page.locator(name).bounding_box() for name in ("#photo", "#map"))
        assert photo == drawn
        assert page.evaluate("(({ width, height }) => [width, height])(document.querySelector('#map'))") == [8, 12]
        page.locator("#heat-class").select_option("dog")
        expect(page.get_by_role("img", name="Heat map for dog")).to_be_visible()
        page.get_by_label("Opacity").fill("40")
        assert page.evaluate("document.querySelector('#map').style.opacity") == "0.4"
        page.get_by_role("button", name="Test this map").click()
        expect(page.locator("#heat-said")).to_contain_text("map")
        page.get_by_role("button", name="Show where it looks").click()
        expect(page.locator("#map")).to_be_hidden()

    def test_what_the_network_did_not_see_is_dimmed(self, page: Page) -> None:
        choose(page, image_file("green.png", png(1)))
        page.get_by_role("button", name="Show where it looks").click()
        expect(page.get_by_role("img", name="Heat map for")).to_be_visible()
        rows = page.evaluate(
            """[...document.querySelector("#map").getContext("2d").getImageData(0, 0, 1, 12).data]
              .filter((_, i) => i % 4 === 3)"""
        )
        assert rows[:2] == rows[-2:] == [153, 153]  # of 12 rows, the middle 8 are seen
        assert 153 not in rows[2:-2]

    def test_of_a_bundle_by_covering_patches(self, page: Page) -> None:
        page.get_by_role("checkbox", name="pets").uncheck()
        choose(page, image_file("green.png", png(1)))
        page.get_by_role("button", name="Show where it looks").click()
        expect(page.get_by_role("img", name="Heat map for green")).to_be_visible()
        expect(page.locator("#heat-said")).to_contain_text("Patches were covered in turn")
        expect(page.get_by_role("button", name="Test this map")).to_be_hidden()


class TestBatch:
    NAMES = ("red.png", 'a,"b".png', "=cmd.png", "notes.txt")

    def files(self) -> list:
        contents = (png(0), png(1), png(2), b"text")
        return [image_file(name, content) for name, content in zip(self.NAMES, contents, strict=True)]

    def test_a_table_and_its_csv(self, page: Page) -> None:
        page.get_by_role("checkbox", name="pets").uncheck()
        page.get_by_label("Name all possible classes").select_option("0.9")
        choose(page, *self.files())
        expect(page.locator("#batch-note")).to_have_text("1 image could not be answered: see the table.")
        expect(page.locator("#batch-title")).to_have_text("4 images")
        expect(page.locator("#batch-table tbody tr")).to_have_count(4)
        assert barriers(page) == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert overflow(page) == 0
        page.set_viewport_size({"width": 1280, "height": 900})
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").click()
        text = download.value.path().read_text("utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert download.value.suggested_filename == "answers.csv"
        assert [(row["path"], row["model"]) for row in rows] == [
            (name, model)
            for name in ("red.png", 'a,"b".png', "'=cmd.png", "notes.txt")
            for model in ("colours", "tiny")
        ]
        assert [row["label"] for row in rows[::2]] == ["red", "green", "blue", ""]
        assert float(rows[0]["score"]) == pytest.approx(0.99933, abs=1e-5)
        assert (rows[0]["set"], rows[1]["set"]) == ('["red"]', "")
        assert "not an image" in rows[6]["error"]

    def test_a_row_opens_its_image_and_the_table_comes_back(self, page: Page) -> None:
        choose(page, *self.files())
        page.get_by_role("button", name="red.png").click()
        expect(page.locator("#photo-name")).to_have_text("red.png")
        page.get_by_role("button", name="Back to the table").click()
        expect(page.locator("#batch-table tbody tr")).to_have_count(4)
        page.get_by_role("button", name="Close the table").click()
        expect(page.locator("#empty")).to_be_visible()

    def test_it_stops_and_goes_on(self, page: Page) -> None:
        held = []
        page.route("**/v1/predict*", lambda route: held.append(route))
        choose(page, *self.files())
        expect(page.locator("#batch-title")).to_have_text("0 of 4 images")
        page.get_by_role("button", name="Stop").click()
        for route in held:
            route.abort()
        page.unroute_all(behavior="wait")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#batch-title")).to_have_text("4 images")
        assert page.locator("#batch-table button").all_inner_texts() == list(self.NAMES)
        expect(page.locator("#batch-table td").nth(1)).to_contain_text("red")


class TestCode:
    def test_the_programs_answer(self, page: Page, tmp_path: Path) -> None:
        (tmp_path / "cat.jpg").write_bytes(png(2))
        page.locator("#code-model").select_option("tiny")
        shell, python, _ = page.locator("#code-list pre").all_inner_texts()
        done = subprocess.run([sys.executable, "-c", python], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "'label': 'blue'" in done.stdout
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=True)
            assert '"label":"blue"' in done.stdout

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
    def test_the_program_in_javascript(self, page: Page, tmp_path: Path) -> None:
        (tmp_path / "cat.jpg").write_bytes(png(2))
        page.locator("#code-model").select_option("tiny")
        program = tmp_path / "answer.mjs"
        program.write_text(page.locator("#code-list pre").last.inner_text(), "utf-8")
        done = subprocess.run(["node", program], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "blue" in done.stdout

    def test_copying(self, page: Page) -> None:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy: Command line").click()
        expect(page.locator("#status")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()").startswith("curl --data-binary @cat.jpg")


def test_the_models_in_words(page: Page) -> None:
    about = page.locator("#about")
    assert about.locator("summary strong").all_inner_texts() == ["colours", "pets", "tiny", "again"]
    expect(about.get_by_text("91.2 % (95 % interval 88.0 to 93.0)")).to_be_visible()
    expect(about.get_by_text("calibrated on 60 validation images")).to_be_visible()


def test_the_description_of_the_api(page: Page) -> None:
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The API of this server")
    assert barriers(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert overflow(page) == 0
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("link", name="classicnets").click()
    expect(page.locator("#try")).to_be_visible()


def test_words(page: Page) -> None:
    words = page.evaluate(
        """async () => {
          const { percent, listed, together } = await import("/page/words.js");
          const { csvText } = await import("/page/csv.js");
          return [[0.99999, 1, 0.00001, 0, 0.5].map((share) => percent(share)), listed(["a", "b", "c"]),
            csvText(["a"], [["\\tx"], ["-1"], [-1], ["a\\nb"], [undefined], [true]])];
        }"""
    )
    assert words == [
        ["over 99.9 %", "100 %", "under 0.1 %", "0 %", "50.0 %"],
        "a, b or c",
        "a\n'\tx\n'-1\n-1\n\"a\nb\"\n\ntrue\n",
    ]
