"""The files of a form: a multipart/form-data body, divided in memory.

Starlette would write larger files to a disk, which a server of images should not touch, and a container may not have.
"""

from __future__ import annotations

from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from classicnets.serving.answering import Given
from classicnets.serving.refusal import Refusal

FORM = "multipart/form-data"


def files_of(body: bytes, content_type: str, *, most: int) -> list[Given]:
    """Return the files of a form.

    Args:
        body: the form.
        content_type: the header of the request, which names the boundary.
        most: how many files it may have.

    Raises Refusal (400) for a damaged form, a part that is no file, and too many files.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _bad("The form's Content-Type names no boundary.")
    if body.count(b"--" + boundary) > most + 1:  # before it is parsed: the last one ends the form
        raise _bad(f"The form has more than {most} files. Send fewer at a time.")
    files = _Files()
    try:
        parser = MultipartParser(boundary, files.callbacks())  # type: ignore[arg-type]
        parser.write(body)
    except FormParserError:
        raise _bad("The form is damaged.") from None
    if not files.ended:
        raise _bad("The form ends too early, or does not begin with its boundary.")
    return files.found


class _Files:
    """What the parser finds."""

    def __init__(self) -> None:
        self.found: list[Given] = []
        self.ended = False

    def callbacks(self) -> dict[str, object]:
        """The methods that the parser calls."""
        names = ("part_begin", "header_field", "header_value", "headers_finished", "part_data", "part_end", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self) -> None:
        self._name, self._field, self._content = "", b"", b""
        self._is_file = False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field = data[start:end].lower()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        if self._field == b"content-disposition":
            value = data[start:end]
            _, options = parse_options_header(value)
            self._is_file = b"filename" in value
            self._name = options.get(b"filename", b"").decode("utf-8", "replace")

    def _headers_finished(self) -> None:
        if not self._is_file:
            raise _bad("The form has a field that is no file. Give options in the address, such as ?top_k=3.")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _part_end(self) -> None:
        self.found.append(Given(self._name or f"image {len(self.found)}", self._content))

    def _end(self) -> None:
        self.ended = True


def _bad(sentence: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, sentence)
