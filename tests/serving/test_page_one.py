"""The page in a real browser: one image, from everywhere that it may come."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from browser import barriers, check, contrast, drop, image_file, opened, overflow, paste
from classicnets.serving.models import Served
from servers import Server, png, running, until


@pytest.fixture(scope="module")
def served(trusted: Path) -> Iterator[Server]:
    with running([Served("colours", trusted)], body=200_000) as made:
        yield made


@pytest.fixture(scope="module")
def tab(browser: Browser, served: Server) -> Iterator[Page]:
    with opened(browser, address(served)) as made:
        yield made


@pytest.fixture
def page(tab: Page, served: Server) -> Iterator[Page]:
    """The page, loaded again in the same tab; a test that expects errors checks them itself."""
    ready(tab, served)
    yield tab
    tab.unroute_all(behavior="wait")
    tab.context.set_offline(False)
    check(tab)


def ready(page: Page, served: Server) -> None:
    page.goto(address(served))
    expect(page.get_by_role("button", name="Example 3")).to_be_visible()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/"


def answered(page: Page, label: str) -> None:
    """Wait until the page's only answer is `label`."""
    expect(page.locator(".answer .best strong")).to_have_text(label)
    expect(page.locator(".answer")).not_to_have_attribute("aria-busy", "true")


@pytest.fixture
def received(served: Server, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The images that the server is asked about."""
    images: list[bytes] = []
    scorer = served.state.models["colours"].scorer
    predict = scorer.predict
    monkeypatch.setattr(scorer, "predict", lambda image, **more: (images.append(image), predict(image, **more))[1])
    return images


def open_camera(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("button", name="Take the picture")).to_be_focused()
    until(lambda: page.evaluate("document.querySelector('#video').videoWidth > 0"))


class TestWays:
    def test_a_file_goes_to_the_server_as_it_is(self, page: Page, received: list[bytes]) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text("Red, green or blue?")
        content = png(1) + b"its own bytes"
        choose(page, image_file("green.png", content))
        answered(page, "green")
        assert received == [content]
        expect(page.locator("#photo-name")).to_have_text("green.png")
        assert [text.strip() for text in page.locator(".bars .name").all_inner_texts()] == ["green", "red", "blue"]
        expect(page.locator(".answer .score").first).to_have_text("99.9 %")
        expect(page.locator("#status")).to_have_text("green, 99.9 %.")

    def test_drop(self, page: Page) -> None:
        drop(page, image_file("blue.png", png(2)))
        answered(page, "blue")

    def test_paste(self, page: Page) -> None:
        paste(page, image_file("image.png", png(0)))
        answered(page, "red")

    def test_an_example(self, page: Page) -> None:
        page.get_by_role("button", name="Example 3").click()
        answered(page, "blue")

    def test_the_camera(self, page: Page, received: list[bytes]) -> None:
        open_camera(page)
        page.get_by_role("button", name="Take the picture").click()
        expect(page.locator("#photo-name")).to_have_text("camera.jpg")
        expect(page.locator(".answer .best")).to_be_visible()
        assert Image.open(io.BytesIO(received[0])).format == "JPEG"
        expect(page.locator("#camera")).to_be_hidden()
        assert page.evaluate("document.querySelector('#video').srcObject") is None

    def test_the_camera_live(self, page: Page, received: list[bytes]) -> None:
        open_camera(page)
        page.get_by_role("button", name="Answer live").click()
        until(lambda: (page.wait_for_timeout(20), len(received) > 2)[1])
        expect(page.locator(".answer .best")).to_be_visible()
        page.get_by_role("button", name="Close the camera").click()
        expect(page.locator("#photo-name")).to_have_text("camera.jpg")
        page.wait_for_timeout(250)
        before = len(received)
        page.wait_for_timeout(450)
        assert len(received) == before

    def test_the_preview_is_turned_as_the_server_turns_it(self, page: Page) -> None:
        out = io.BytesIO()
        image = Image.new("RGB", (40, 20), (200, 40, 40))
        image.save(out, "JPEG", exif=_turned(image))
        choose(page, image_file("turned.jpg", out.getvalue(), "image/jpeg"))
        answered(page, "red")
        size = page.evaluate("(({naturalWidth, naturalHeight}) => [naturalWidth, naturalHeight])(photo)")
        assert size == [20, 40]


class TestKeyboard:
    def test_every_control_is_reached_in_order(self, page: Page) -> None:
        expect(page.get_by_role("button", name="Example 3")).to_be_visible()
        names = []
        for _ in range(13):
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText.trim()"))
        assert names[:11] == [
            "classicnets", "Try it", "About", "Code", "API", "Choose images", "Use the camera",
            "none\n80 %\n90 %\n95 %", "Example 1", "Example 2", "Example 3",
        ]  # fmt: skip
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    def test_an_image_from_the_keyboard(self, page: Page) -> None:
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose images").focus()
            page.keyboard.press("Enter")
        chooser.value.set_files(image_file("red.png", png(0)))
        answered(page, "red")
        page.get_by_role("button", name="Clear").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Choose images")).to_be_focused()
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator(".answer .hint")).to_contain_text("The answer appears here")

    def test_escape_closes_the_camera(self, page: Page) -> None:
        page.get_by_role("button", name="Use the camera").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Take the picture")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Use the camera")).to_be_focused()


class TestDoubt:
    def test_the_score_in_words(self, page: Page) -> None:
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".doubt")).to_have_text("Of 100 answers with such a score, nearly all are right.")

    def test_the_set_of_classes(self, page: Page) -> None:
        page.get_by_label("Name all possible classes").select_option("0.9")
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".doubt.set")).to_have_text("At 90 % coverage, only red remains.")
        choose(page, image_file("grey.png", grey()))
        expect(page.locator(".doubt.set")).to_have_text("At 90 % coverage, no class can be ruled out.")

    def test_an_image_unlike_the_training_images(self, page: Page) -> None:
        page.route("**/v1/predict*", _unlike)
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".doubt")).to_have_text(
            "This image is unlike the training images, so its classes mean little."
        )


class TestMistakes:
    def test_a_file_that_is_no_image(self, page: Page) -> None:
        choose(page, image_file("notes.txt", b"some text", "text/plain"))
        expect(page.locator(".answer .problem")).to_contain_text("notes.txt: this is not an image")
        expect(page.locator("#photo-name")).to_have_text("notes.txt: this browser cannot show it.")
        choose(page, image_file("red.png", png(0)))
        answered(page, "red")
        expect(page.locator("#photo")).to_be_visible()
        check(page, "400")

    def test_a_file_that_is_too_large_is_not_sent(self, page: Page) -> None:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        choose(page, image_file("large.tif", bytes(300_000), "image/tiff"))
        expect(page.locator(".answer .problem")).to_have_text(
            "large.tif has 0.3 MiB, and this server takes 0.2 MiB at most."
        )
        assert not [url for url in asked if "/v1/" in url]

    def test_a_busy_server_is_asked_again(self, page: Page, served: Server) -> None:
        served.state.admission.inside += 1000
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".answer .hint")).to_have_text("The server is busy. Asking again in 1 s.")
        served.state.admission.inside -= 1000
        answered(page, "red")
        check(page, "503")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_what_is_said_while_one_waits_can_be_read(self, page: Page, served: Server, scheme: str) -> None:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        choose(page, image_file("red.png", png(0)))
        answered(page, "red")
        served.state.admission.inside += 1000
        choose(page, image_file("blue.png", png(2)))
        note = page.locator(".answer .note")
        expect(note).to_have_text("The server is busy. Asking again in 1 s.")
        below = page.locator(".answer .content > p, .answer .bars span:not([aria-hidden] *, [aria-hidden])").all()
        assert len(below) >= 6
        assert min(contrast(text) for text in below) >= 4.5
        assert barriers(page) == []
        page.get_by_role("button", name="Clear").click()
        choose(page, image_file("blue.png", png(2)))
        hint = page.locator(".answer .hint")
        expect(hint).to_have_text("The server is busy. Asking again in 1 s.")
        assert contrast(hint) >= 4.5
        served.state.admission.inside -= 1000
        answered(page, "blue")
        check(page, "503")
        page.emulate_media(color_scheme="light", reduced_motion="no-preference")

    def test_nothing_is_offered_about_an_image_without_an_answer(self, page: Page) -> None:
        offer, looking = page.get_by_role("button", name="Show where it looks"), page.locator("#heat")
        choose(page, image_file("red.png", png(0)))
        answered(page, "red")
        offer.click()
        expect(page.get_by_role("img", name="Heat map for red")).to_be_visible()
        choose(page, image_file("notes.txt", b"some text", "text/plain"))
        expect(page.locator(".answer .problem")).to_be_visible()
        expect(looking).to_be_hidden()
        expect(page.locator("#map")).to_be_hidden()
        choose(page, image_file("blue.png", png(2)))
        answered(page, "blue")
        expect(offer).to_be_visible()
        expect(page.get_by_role("img", name="Heat map for blue")).to_be_visible()
        page.get_by_role("button", name="Clear").click()
        expect(looking).to_be_hidden()
        check(page, "400")

    def test_a_map_is_offered_again_as_soon_as_the_server_answers(self, page: Page) -> None:
        page.context.set_offline(True)
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".answer .problem")).to_be_visible()
        expect(page.locator("#heat")).to_be_hidden()
        page.context.set_offline(False)
        page.get_by_label("Name all possible classes").select_option("0.9")
        answered(page, "red")
        expect(page.locator("#heat")).to_be_visible()
        check(page, "ERR_INTERNET_DISCONNECTED")

    def test_a_server_that_is_gone(self, page: Page) -> None:
        page.context.set_offline(True)
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".answer .problem")).to_contain_text("The server does not answer.")
        check(page, "ERR_INTERNET_DISCONNECTED")

    def test_nothing_useful_is_pasted_or_dropped(self, page: Page) -> None:
        paste(page)
        expect(page.get_by_role("alert")).to_contain_text("The clipboard has no image.")
        drop(page)
        expect(page.get_by_role("alert")).to_contain_text("No image file was dropped.")
        page.get_by_role("button", name="Close", exact=True).click()
        expect(page.locator("#toast")).to_be_hidden()

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            ("NotFoundError", "There is no camera on this device."),
            ("NotAllowedError", "The browser may not use the camera."),
        ],
    )
    def test_no_camera(self, page: Page, error: str, sentence: str) -> None:
        page.evaluate(
            "(name) => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name); }; }",
            error,
        )
        page.get_by_role("button", name="Use the camera").click()
        expect(page.get_by_role("alert")).to_contain_text(sentence)


def test_a_question_that_is_superseded_is_ended(page: Page) -> None:
    ended, held = [], []
    page.on("requestfailed", lambda request: ended.append(request.failure))
    page.route("**/v1/predict*", lambda route: route.continue_() if held else held.append(route))
    choose(page, image_file("red.png", png(0)))
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")
    until(lambda: (page.wait_for_timeout(20), held)[1])
    choose(page, image_file("blue.png", png(2)))
    answered(page, "blue")
    assert ended == ["net::ERR_ABORTED"]
    held[0].abort()


def test_pictures_are_freed(page: Page) -> None:
    page.evaluate(
        """() => {
          window.kept = new Set();
          const { createObjectURL, revokeObjectURL } = URL;
          URL.createObjectURL = (blob) => {
            const url = createObjectURL.call(URL, blob);
            window.kept.add(url);
            return url;
          };
          URL.revokeObjectURL = (url) => { window.kept.delete(url); revokeObjectURL.call(URL, url); };
        }"""
    )
    for k in (0, 1, 2):
        choose(page, image_file(f"{k}.png", png(k)))
        answered(page, ("red", "green", "blue")[k])
    assert page.evaluate("() => window.kept.size") == 1


@pytest.mark.slow
def test_memory_stays_as_it_is(page: Page) -> None:
    """A hundred photos, one after the other: what the page holds after 20 of them is what it holds after all."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    held = []
    for i in range(100):
        choose(page, image_file(f"{i}.jpg", photo(i), "image/jpeg"))
        expect(page.locator("#photo-name")).to_have_text(f"{i}.jpg")
        expect(page.locator(".answer")).not_to_have_attribute("aria-busy", "true")
        if i in (19, 99):
            session.send("HeapProfiler.collectGarbage")
            metrics = {row["name"]: row["value"] for row in session.send("Performance.getMetrics")["metrics"]}
            held.append((metrics["JSHeapUsedSize"], metrics["Nodes"], metrics["JSEventListeners"]))
    (heap, nodes, listeners), (heap_after, nodes_after, listeners_after) = held
    assert heap_after < heap + 500_000
    assert nodes_after < nodes + 80  # a node kept of each photo; when the browser frees them is its own affair
    assert listeners_after == listeners


class TestLooks:
    def test_nothing_keeps_people_out(self, page: Page, served: Server) -> None:
        for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 25, 29)")):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
            assert page.evaluate("getComputedStyle(stage).transitionDuration") == "0s"
            assert barriers(page) == []  # empty, then with an answer
            choose(page, image_file("red.png", png(0)))
            answered(page, "red")
        page.emulate_media(color_scheme="light", reduced_motion="no-preference")

    def test_a_phone(self, page: Page) -> None:
        page.set_viewport_size({"width": 390, "height": 800})
        assert overflow(page) == 0
        choose(page, image_file("a-name-that-is-much-longer-than-a-phone-is-wide-" * 3 + ".png", png(0)))
        answered(page, "red")
        assert overflow(page) == 0
        page.set_viewport_size({"width": 1280, "height": 900})


def choose(page: Page, *files) -> None:
    page.locator("#files").set_input_files(list(files))


def photo(seed: int) -> bytes:
    """A photo of two megapixels, about a hundred kilobytes."""
    out = io.BytesIO()
    small = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(small).resize((1600, 1200)).save(out, "JPEG", quality=80)
    return out.getvalue()


def grey() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 90, 90)).save(out, "PNG")
    return out.getvalue()


def _turned(image: Image.Image) -> Image.Exif:
    exif = image.getexif()
    exif[0x0112] = 6
    return exif


def _unlike(route) -> None:
    response = route.fetch()
    body = response.json()
    body["answers"][0]["unlike_training"] = True
    route.fulfill(response=response, json=body)
