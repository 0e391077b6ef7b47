"""Text as it is searched: without case and accents, cut into words. Pure, so that every database agrees."""

from __future__ import annotations

import re
import unicodedata

#: What is kept of a word; longer words that begin alike count as the same.
MAX_WORD = 32
#: Letters that Unicode does not decompose although readers type them without the stroke.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)
_WORD = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """`text` without case and accents."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).translate(_PLAIN)


def words(text: str) -> list[str]:
    """The folded words of `text`, each once: runs of letters and digits, at most MAX_WORD of them."""
    return list(dict.fromkeys(word[:MAX_WORD] for word in _WORD.findall(fold(text))))


def prefixes(word: str) -> list[str]:
    """All beginnings of a folded word, itself included."""
    return [word[:length] for length in range(1, len(word) + 1)]


def beyond(prefix: str) -> str:
    """A text after every word that begins with `prefix`, in the order of code points.

    U+10FFFF is the last code point and neither letter nor digit, so no word has it.
    """
    return prefix + "\U0010ffff"
