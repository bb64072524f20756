"""Words and sentences of a text in any script, and the form in which texts are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import regex

_UNSPACED = r"\p{Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = r"[[\w\p{N}]--\p{M}]"
# Scripts that put no blank between words: each of their letters counts as a word, together with its marks.
_WORD = regex.compile(rf"[{_LETTER}&&[{_UNSPACED}]]\p{{M}}*|[[\w\p{{N}}]--[{_UNSPACED}]]+", regex.V1)
_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_WITHOUT_BLANKS = regex.compile(rf"[{_LETTER}&&[{_UNSPACED}]]", regex.V1)
_INVISIBLE = regex.compile(r"\p{Cf}+")
_CLOSERS = r"[\"'”’“»›」』）】》〉\)\]]"
# The marks of a full stop, an exclamation and a question; the Greek question mark looks like a semicolon. Those in the second
# line end a sentence without a blank behind them too; Tibetan has marks that Unicode does not call terminal.
_SENTENCE_END = regex.compile(
    rf"(?<![.!?])(?:[.!?]|(?<=\p{{Greek}}\p{{M}}*)[;\u037e])++{_CLOSERS}*+(?=\s|$)|(?:[[\p{{STerm}}།༎]--[.!?．]]|．(?!\d))++[!?]*+{_CLOSERS}*+",
    regex.V1,
)
_ASCII_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*+(?=\s|$)")
_NO_SENTENCE_MARKS = regex.compile(r"[[\p{Thai}\p{Lao}]&&\p{L}]", regex.V1)


def folded(text: str) -> str:
    """The text as it is compared: without its case, Unicode form and invisible characters, nearly as Unicode's NFKC_Casefold.

    So é composed or not, the ligature ﬁ and fi, full-width Ａ and a, with a zero-width blank or without, are the same.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold()))


def words(text: str) -> list[str]:
    """The words of a text as they are compared, without punctuation.

    Han, kana, Thai, Lao, Khmer and Burmese are written without blanks, so each of their letters counts as a word.
    """
    compared = folded(text)
    found: list[str] = (_ASCII_WORD if compared.isascii() else _WORD).findall(compared)
    return found


def tokens(text: str) -> list[str]:
    """What stands between blanks, with its punctuation; in scripts without blanks each letter with its marks."""
    parts = text.split()
    if text.isascii() or not _WITHOUT_BLANKS.search(text):
        return parts
    return [piece for part in parts for piece in (_WORD.findall(part) if has_no_blanks(part) else [part])]


def has_no_blanks(text: str) -> bool:
    """Whether a letter of a script without blanks between words is in the text."""
    return not text.isascii() and _WITHOUT_BLANKS.search(text) is not None


def finder(listed: Iterable[str]) -> regex.Pattern[str]:
    """A pattern that finds any of these words or phrases in a :func:`folded` text.

    They match as whole words, except that in scripts without blanks between words nothing tells where one ends.
    """
    known = {folded(word).strip() for word in listed} - {""}
    return regex.compile("|".join(map(_whole, sorted(known))), regex.V1)


def _whole(word: str) -> str:
    before = "" if has_no_blanks(word[0]) else rf"(?<![[\w\p{{M}}]--[{_UNSPACED}]])"
    after = r"(?!\p{M})" if has_no_blanks(word[-1]) else rf"(?![[\w\p{{M}}]--[{_UNSPACED}]])"
    return f"{before}{regex.escape(word)}{after}"


def sentences(text: str) -> int:
    """Sentences, counted by the marks that end them in the text's script.

    Thai and Lao have no such marks: in a line of theirs, what stands between blanks counts as a sentence.
    """
    if text.isascii():
        return len(_ASCII_SENTENCE_END.findall(text))
    return len(_SENTENCE_END.findall(text)) + sum(
        len(line.split()) for line in text.splitlines() if lacks_sentence_marks(line) and not ends_sentence(line)
    )


def ends_sentence(text: str) -> bool:
    """Whether the text ends with a mark that ends a sentence in its script, quotation marks and brackets behind it aside."""
    return any(mark.end() == len(text) for mark in _SENTENCE_END.finditer(text))


def lacks_sentence_marks(text: str) -> bool:
    """Whether most letters of the text are of a script that has no marks for the end of a sentence: Thai and Lao."""
    if text.isascii():
        return False
    return 2 * len(_NO_SENTENCE_MARKS.findall(text)) > sum(map(str.isalpha, text))
