"""Names as they can be drawn, in the fonts that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from matplotlib.font_manager import fontManager, get_font


class Labels:
    """Names as they can be drawn, by index: shortened, and "class 7" if no installed font has the letters.

    Args:
        names: any texts.
        kind: what is named: the word in "class 7".
        extra: other text that the fonts must cover.
        most: the length to which names are shortened, 2 or more.

    `families` are the fonts to draw with.

    >>> Labels(["plain", "a" * 90])[1]
    'aaaaaaaaaaaaaaaaaaaaaaaaa…'
    """

    def __init__(self, names: Sequence[str], *, kind: str = "class", extra: str = "", most: int = 26) -> None:
        letters = set("".join(names) + extra)
        fonts = {letter: _font_of(letter) for letter in letters if letter.isprintable()}
        self.families = ["DejaVu Sans", *sorted({font for font in fonts.values() if font} - {"DejaVu Sans"})]
        self._names = []
        for i, name in enumerate(names):
            printable = "".join(letter if letter.isprintable() else " " for letter in name)
            text = " ".join(printable.split())
            if len(text) > most:
                text = f"{text[: most - 1]}…"
            drawable = text and all(fonts.get(letter) or letter in " …" for letter in text)
            self._names.append(text.replace("$", r"\$") if drawable else f"{kind} {i}")

    def __getitem__(self, index: int) -> str:
        return self._names[index]


@cache
def _font_of(letter: str) -> str | None:
    """The name of an installed font that has the letter. DejaVu Sans, which matplotlib brings, comes first."""
    entries = sorted(fontManager.ttflist, key=lambda entry: (entry.name != "DejaVu Sans", entry.name))
    for entry in entries:
        if entry.style == "normal" and "last resort" not in entry.name.lower() and _has(entry.fname, letter):
            return str(entry.name)
    return None


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a bitmap font, or a file that was removed
        return frozenset()


def _has(path: str, letter: str) -> bool:
    return ord(letter) in _letters(path)
