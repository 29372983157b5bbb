"""The files of a form: a multipart/form-data body, divided in memory.

    --BOUNDARY CRLF head CRLF CRLF content CRLF --BOUNDARY CRLF ... CRLF --BOUNDARY--

The body is here already, so dividing it is a search for the boundary: nothing is written to a disk, and no content makes
it slow.
"""

from __future__ import annotations

import re
from email.message import Message
from email.utils import unquote
from http import HTTPStatus
from urllib.parse import unquote as percent_decoded

from classicnets.serving.answering import Given
from classicnets.serving.refusal import Refusal

FORM = "multipart/form-data"

_DISPOSITION = re.compile(rb"^content-disposition:\s*form-data\s*;(.*)$", re.IGNORECASE | re.MULTILINE)
_EXTENDED_NAME = re.compile(r";\s*filename\*=utf-8''([^;\s]+)", re.IGNORECASE)
_NAME = re.compile(r';\s*filename=("(?:[^"\\]|\\.)*"|[^;\s]*)', re.IGNORECASE)


def files_of(body: bytes, content_type: str, *, most: int) -> list[Given]:
    """Return the files of a form.

    Args:
        body: the form.
        content_type: the header of the request, which names the boundary.
        most: how many files it may have.

    Raises Refusal (400) for a damaged form, a part that is no file, and too many files.
    """
    opening = b"--" + _boundary(content_type)
    if not body.startswith(opening):
        raise _bad("The form does not begin with its boundary.")
    files: list[Given] = []
    start = len(opening)
    while body[start : start + 2] != b"--":
        end = body.find(b"\r\n" + opening, start)
        content = body.find(b"\r\n\r\n", start, end)
        if end < 0 or content < 0 or body[start : start + 2] != b"\r\n":
            raise _bad("The form is damaged or ends too early.")
        if len(files) == most:
            raise _bad(f"The form has more than {most} files. Send fewer at a time.")
        name = _file_name(body[start:content])
        files.append(Given(name or f"image {len(files)}", body[content + 4 : end]))
        start = end + 2 + len(opening)
    return files


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary:
        raise _bad("The form's Content-Type names no boundary.")
    return boundary.encode("latin-1", "replace")


def _file_name(head: bytes) -> str:
    """The name of a part's file. Raises Refusal if the part is no file."""
    found = _DISPOSITION.search(head)
    parameters = f";{found[1].decode('utf-8', 'replace')}" if found else ""
    if extended := _EXTENDED_NAME.search(parameters):
        return percent_decoded(extended[1])
    if plain := _NAME.search(parameters):
        return unquote(plain[1])
    raise _bad("The form has a field that is no file. Give options in the address, such as ?top_k=3.")


def _bad(sentence: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, sentence)
