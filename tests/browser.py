"""A real Chromium for tests of pages: `with chromium() as browser, opened(browser, url) as page:`.

A page that `opened` opens is watched: an error on its console, something that its policy forbids, or a request to
another server fails the test at the end of the block, or when `check` is called.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect, sync_playwright

PATIENCE = 20_000
"""Milliseconds in which something must happen on a page."""

expect.set_options(timeout=PATIENCE)

_problems: WeakKeyDictionary[Page, list[str]] = WeakKeyDictionary()

_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
_WATCH = """
window.forbidden = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.forbidden.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


def find_chromium() -> str:
    """The path of Chromium. Without one the test is skipped; in CI it fails."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        reason = "Chromium is not installed, and a page is tested in it. On Debian: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


@contextmanager
def chromium(*, camera: bool = False) -> Iterator[Browser]:
    """Start Chromium, with a camera that shows a test picture if asked for. It takes a second: one for each module."""
    path = find_chromium()
    with sync_playwright() as playwright:
        arguments = [*_ARGUMENTS, *(_CAMERA if camera else ())]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    expected: Sequence[str] = (),
    **context: Any,
) -> Iterator[Page]:
    """Open a page in a context of its own, and watch it.

    Args:
        browser: what `chromium` gives.
        url: the address. Requests to other servers fail the test.
        width: of the window, in CSS pixels.
        height: likewise.
        dark: whether the user prefers dark pages.
        expected: parts of errors that may happen, as for `check`.
        context: more arguments of Playwright's `new_context`.
    """
    made = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **context
    )
    made.set_default_timeout(PATIENCE)
    try:
        page = made.new_page()
        problems = _problems[page] = []
        page.add_init_script(_WATCH)
        page.on("console", lambda message: _note(problems, message.type, message.text))
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
        page.on("request", lambda request: _check_server(problems, request.url, url))
        page.goto(url)
        yield page
        check(page, *expected)
    finally:
        made.close()


def check(page: Page, *expected: str) -> None:
    """Fail if something went wrong on the page since it was opened or checked last, except what is expected.

    Chromium reports every failed request as an error: expect its status, such as "503".
    """
    found = [*_problems[page], *page.evaluate("window.forbidden ?? []")]
    _problems[page].clear()
    found = [problem for problem in found if not any(part in problem for part in expected)]
    assert not found, found


def _note(problems: list[str], kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        problems.append(f"{kind}: {text}")


def _check_server(problems: list[str], asked: str, own: str) -> None:
    place = urlsplit(asked)
    if place.scheme not in ("data", "blob") and place.netloc != urlsplit(own).netloc:
        problems.append(f"a request to another server: {asked}")


def barriers(page: Page) -> list[str]:
    """What axe-core finds on the page that keeps people out: serious and critical findings, one line each."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


_CONTRAST = """
(node) => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => colour.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  let opacity = 1, ground = null;
  for (let at = node; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    opacity *= Number(style.opacity);
    const [red, green, blue, alpha = 1] = parts(style.backgroundColor);
    if (!ground && alpha === 1) ground = [red, green, blue];
  }
  const colour = parts(getComputedStyle(node).color).slice(0, 3);
  const ink = colour.map((part, i) => opacity * part + (1 - opacity) * ground[i]);
  const [dim, bright] = [luminance(ink), luminance(ground)].toSorted((one, other) => one - other);
  return (bright + 0.05) / (dim + 0.05);
}
"""


def contrast(text: Locator) -> float:
    """The contrast of a text with what is behind it, 1 to 21 (WCAG 2, 1.4.3), with the opacity of all around it."""
    return float(text.evaluate(_CONTRAST))


def overflow(page: Page) -> int:
    """By how many CSS pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


_GIVE = """
([kind, files]) => {
  const transfer = new DataTransfer();
  for (const [name, type, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(kind === "drop"
    ? new DragEvent("drop", { ...options, dataTransfer: transfer })
    : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
}
"""


def drop(page: Page, *files: FilePayload) -> None:
    """Drop files on the page."""
    _give(page, "drop", files)


def paste(page: Page, *files: FilePayload) -> None:
    """Paste files into the page."""
    _give(page, "paste", files)


def _give(page: Page, kind: str, files: Sequence[FilePayload]) -> None:
    encoded = [[file["name"], file["mimeType"], base64.b64encode(file["buffer"]).decode()] for file in files]
    page.evaluate(_GIVE, [kind, encoded])


def image_file(name: str, content: bytes, kind: str = "image/png") -> FilePayload:
    """A file as Playwright takes it."""
    return {"name": name, "mimeType": kind, "buffer": content}
