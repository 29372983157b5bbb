"""Forms are divided as clients mean them, and anything else is refused in one sentence."""

from __future__ import annotations

import pytest

from classicnets.serving.answering import Given
from classicnets.serving.forms import files_of
from classicnets.serving.refusal import Refusal
from servers import form
from speed import within

TYPE = "multipart/form-data; boundary=limit"


def part(disposition: str, content: bytes = b"x", more: str = "") -> bytes:
    return f"--limit\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n".encode() + content + b"\r\n"


def test_files_keep_their_bytes_and_names() -> None:
    contents = [b"\x89PNG\r\n\x1a\n\r\n\r\n", b"", b"\r\n--limi", b"--", b"\r\n"]
    body, headers = form(*[(f"{i}.png", content) for i, content in enumerate(contents)])
    found = files_of(body, headers["Content-Type"], most=5)
    assert found == [Given(f"{i}.png", content) for i, content in enumerate(contents)]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="a"; filename="cat.jpg"', "cat.jpg"),
        ("name=a; filename=cat.jpg", "cat.jpg"),
        ('name="a"; filename="\\"cat\\".jpg"', '"cat".jpg'),
        ('name="a"; filename="猫.jpg"', "猫.jpg"),
        ("name=a; filename*=UTF-8''%E7%8C%AB.jpg", "image 0"),
        ('filename="cat.jpg"; name="a"', "cat.jpg"),
        ('name="a"; filename=""', "image 0"),
    ],
)
def test_names_of_files(disposition: str, name: str) -> None:
    body = part(disposition, more="Content-Type: image/png\r\n") + b"--limit--\r\n"
    assert files_of(body, TYPE, most=1) == [Given(name, b"x")]


def test_the_boundary_may_be_quoted_and_words_may_follow_the_form() -> None:
    body = part('name="a"; filename="b"') + b"--limit--\r\nepilogue"
    assert files_of(body, 'Multipart/Form-Data; charset=utf-8; boundary="limit"', most=1) == [Given("b", b"x")]
    assert files_of(b"--limit--\r\n", TYPE, most=1) == []


@pytest.mark.parametrize(
    ("body", "content_type", "sentence"),
    [
        (b"", TYPE, "The form ends too early, or does not begin with its boundary."),
        (b"text", TYPE, "The form is damaged."),
        (b"--limit--", "multipart/form-data", "The form's Content-Type names no boundary."),
        (b"--limit--", f"{TYPE}{'x' * 300}", "The form is damaged."),
        (b"--limit", TYPE, "The form ends too early"),
        (b"--limitless\r\n", TYPE, "The form is damaged."),
        (part('name="a"; filename="b"'), TYPE, "The form ends too early"),
        (part('name="top_k"', b"3") + b"--limit--", TYPE, "The form has a field that is no file."),
        (b"--limit\r\nX: y\r\n\r\n\r\n--limit--", TYPE, "The form has a field that is no file."),
        (b"--limit\r\n" + b"X: y\r\n" * 1000 + b"\r\n\r\n--limit--", TYPE, "The form is damaged."),
    ],
)
def test_mistakes(body: bytes, content_type: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence) as caught:
        files_of(body, content_type, most=9)
    assert caught.value.status == 400


def test_many_boundaries_are_refused_before_they_are_parsed() -> None:
    body, headers = form(("a", b"\r\n--limitless" * 400_000))
    with within(0.05), pytest.raises(Refusal, match="more than 64 files"):
        files_of(body, headers["Content-Type"], most=64)


def test_ten_thousand_parts_are_refused_at_the_first_too_many() -> None:
    body, headers = form(*[("a", b"x")] * 10_000)
    with within(0.05), pytest.raises(Refusal, match=r"more than 64 files\. Send fewer at a time"):
        files_of(body, headers["Content-Type"], most=64)


@pytest.mark.parametrize("content", [b"\r", b"\n", b"\r\n--limi", b"\r\n\r\n", b"-", b"--limi"])
def test_no_content_makes_it_slow(content: bytes) -> None:
    body, headers = form(("a", content * (4_000_000 // len(content))))
    with within(0.2):
        files_of(body, headers["Content-Type"], most=1)
