"""What a written answer says: a number, perhaps with a unit, or else a text."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 1_000
"""Characters. A longer answer is compared as text: a model may write millions of digits."""
LAYERS = 4
"""Of markup around an answer, such as ``**$18$**``, that are taken off."""

_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_SIGNS = {ord("٫"): ".", ord("٬"): ",", ord("。"): ".", ord("’"): "'", ord("“"): '"', ord("”"): '"'}
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_VULGAR = {code: f" {text}" for code, text in zip(range(0xBC, 0xBF), ("1/4", "1/2", "3/4"), strict=True)}
_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

_CURRENCIES = "$€£¥₹₩₽₺₫₴₦₱฿¢"
_SCALES = {
    **dict.fromkeys(("hundred",), 100),
    **dict.fromkeys(("dozen",), 12),
    **dict.fromkeys(("thousand", "thousands", "mil", "mille", "mila", "tausend"), 10**3),
    **dict.fromkeys(("million", "millions", "millón", "millones", "millionen", "milhão", "milhões", "milione", "milioni"), 10**6),
    **dict.fromkeys(("billion", "billions", "milliard", "milliards", "milliarde", "milliarden", "miliardo", "miliardi"), 10**9),
    **dict.fromkeys(("trillion", "trillions", "billón", "billones"), 10**12),
}
_SAME_UNIT = {
    **dict.fromkeys(("dollar", "usd"), "$"),
    **dict.fromkeys(("euro", "eur"), "€"),
    **dict.fromkeys(("percent", "pct"), "%"),
}
_NO_UNIT = frozenset(
    {
        "and",
        "or",
        "y",
        "o",
        "und",
        "oder",
        "et",
        "ou",
        "plus",
        "minus",
        "times",
        "by",
        "over",
        "of",
        "to",
        "per",
        "mod",
        "not",
        "more",
    }
    | {"less", "fewer", "point", "pi", "sqrt", "root", "squared", "cubed", "factorial", "half", "halves", "third", "thirds"}
    | {"quarter", "quarters", "fourth", "fourths", "fifth", "fifths", "sixth", "sixths", "eighth", "eighths", "tenth", "tenths"}
    | {"hundredth", "hundredths", "thousandth", "thousandths"}
)
"""Words after a number that make another number of it, or say that there is more to come."""
_SCALED_CJK = frozenset("十百千万萬亿億兆半천만억분")

_PLAIN = (
    r"(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d+)?"  # 1,234,567.8
    r"|[1-9]\d{0,2}(?:\.\d{3})+,\d+"  # 1.234,5
    r"|[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d.])"  # 1.234.567
    r"|[1-9]\d{0,2}(?:[ '_]\d{3})+(?!\d)(?:[.,]\d+)?"  # 1 234 567,8
    r"|[1-9]\d?(?:,\d{2})+,\d{3}(?!\d)(?:\.\d+)?"  # 12,34,567
    r"|\d+(?:[.,]\d+)?"
    r"|(?<!\w)\.\d+)"
)
_POWER = r"(?:e[+-]?\d{1,3}(?!\d)| ?[x×*·] ?10(?:\^-?\d{1,3}(?!\d)|⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}))?"
_SCALE = rf"(?: (?:{'|'.join(sorted(_SCALES, key=len, reverse=True))})(?!\w))?"
_BODY = rf"(?:\d+ \d+/\d+|{_PLAIN}{_POWER}(?: ?/ ?{_PLAIN}{_POWER})?{_SCALE})"
_UNIT = (
    rf"(?: ?[%{_CURRENCIES}]| ?°[cf]?| (?:[^\W\d_]{{2,}}|[mglsh])(?:/[^\W\d_]+)?[²³]?"
    r"|(?:[kcm]?m|[km]?g|[mc]?l|ms|k?hz|[kmgt]b|ft|lbs?|oz|kwh)[²³]?| ?[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]{1,4})"
)
_NUMBER = re.compile(rf"(?P<sign>[+-]?) ?(?P<currency>[{_CURRENCIES}]?) ?(?P<inner>[+-]?)(?P<body>{_BODY})(?P<unit>{_UNIT}?)")
_IN_TEXT = re.compile(
    r"(?P<other>(?<![a-zà-ÿ\d])(?:[\d]++(?:-\d++){2,}|\d++(?:/\d++){2,}|\d++(?::\d++)+))"  # dates and times are no numbers
    rf"|(?P<number>(?:(?<![\w)\]}}.%])[+-])?(?:[{_CURRENCIES}][+-]?)?(?<![a-zà-ÿ\d]){_BODY})"
)


@dataclass(frozen=True)
class Answer:
    """A number or a text. Of two numbers with units the units must agree; one without a unit agrees with any."""

    value: Fraction | str
    unit: str = ""

    def agrees_with(self, other: Answer) -> bool:
        """Whether both say the same."""
        return self.value == other.value and (not self.unit or not other.unit or self.unit == other.unit)


def plain(text: str) -> str:
    """One form of what is written in many: accents, digits, dashes, case and white space. Not NFKC, by which 4² is 42."""
    text = unicodedata.normalize("NFC", text)
    if not text.isascii():
        text = text.translate(_DASHES).translate(_SIGNS).translate(_FULL_WIDTH).translate(_VULGAR)
        text = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text)
    return " ".join(text.casefold().split())


def read(text: str) -> Answer:
    """What a :func:`plain` text says as a whole."""
    bare = _bare(text)
    return (_number(bare) if len(bare) <= LONGEST else None) or Answer(bare)


def read_start(text: str) -> Answer:
    """What a :func:`plain` line says that may go on behind its number: ``12 and a reason``, but not ``12 or 13``."""
    whole = read(text)
    bare = _bare(text.replace("**", ""))[:LONGEST]
    first = _IN_TEXT.match(bare)
    if (
        isinstance(whole.value, str)
        and first
        and first["number"]
        and bare[first.end() : first.end() + 1] in {"", " ", ".", ",", ";"}
    ):
        alone = not _IN_TEXT.search(bare, first.end()) and not _goes_on(bare[first.end() :])
        return (_number(first["number"]) if alone else None) or whole
    return whole


def last_number(text: str) -> Answer | None:
    """The last number in a :func:`plain` text; None if there is none. Dates and times are no numbers; in ``10-5`` it is 5."""
    found = None
    for match in _IN_TEXT.finditer(_without_latex(text)):
        found = match["number"] or found
    if found is None:
        return None
    return (_number(found) if len(found) <= LONGEST else None) or Answer(found)


def _goes_on(rest: str) -> bool:
    word = re.match(r" ([^\W\d_]+)(.*)", rest)
    return word is not None and word[1] in _NO_UNIT and not (word[1] in {"and", "y", "und", "et"} and word[2].strip())


def _bare(text: str) -> str:
    """Without markup around all of it, and without a full stop at its end."""
    text = _without_latex(text)
    for _ in range(LAYERS):
        text = text.strip().rstrip(".,;:").rstrip().removeprefix("=").lstrip()
        for start, end in _AROUND:
            if len(text) > len(start) + len(end) and text.startswith(start) and text.endswith(end):
                text = text[len(start) : -len(end)]
        if re.fullmatch(r"\([\w.%/+-]+\)", text):
            text = text[1:-1]
    return text


_AROUND = (*((mark, mark) for mark in ("**", "*", "`", "$$", "$", '"', "'")), ("\\(", "\\)"), ("\\[", "\\]"))
_LATEX = (
    (re.compile(r"\\(?:boxed|fbox|text|textbf|mathrm|mathbf) ?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"(\d?)\\[dt]?frac ?\{([\d.,]+)\}\{([\d.,]+)\}"), r"\1 \2/\3"),
    (re.compile(r"(\d?)\\[dt]?frac ?(\d)(\d)"), r"\1 \2/\3"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\[,;: ]|(?<=[^\s~])~"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "×"),
    (re.compile(r"\^ ?\{(-?\d+)\}"), r"^\1"),
    (re.compile(r"\^ ?\{?\\circ\}?"), "°"),
)


def _without_latex(text: str) -> str:
    """Numbers as LaTeX writes them, as others do; what else LaTeX can say stays as it is."""
    if "\\" not in text and "{" not in text and "~" not in text:
        return text
    for pattern, replacement in (_LATEX[0], *_LATEX):  # commands may be nested once
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _number(text: str) -> Answer | None:
    """The number that a text is, with its unit."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or (found["sign"] and found["inner"]):
        return None
    unit = _unit(found["unit"].strip(), found["currency"])
    value = _value(found["body"])
    if unit is None or value is None:
        return None
    return Answer(-value if "-" in (found["sign"], found["inner"]) else value, unit)


def _unit(behind: str, currency: str) -> str | None:
    """None if what stands behind the number makes another number of it."""
    if behind in _NO_UNIT or behind in _SCALES or _SCALED_CJK & set(behind):
        return None
    singular = behind.removesuffix("s") if len(behind) > 3 else behind
    unit = _SAME_UNIT.get(singular, singular)
    return currency or unit if not (currency and unit) or currency == unit else None


def _value(body: str) -> Fraction | None:
    *numbers, last = body.rsplit(" ", 1)
    scale = _SCALES.get(last)
    if scale is not None:
        value = _value(numbers[0])
        return None if value is None else value * scale
    over, slash, under = (part.strip() for part in body.partition("/"))
    if not slash:
        return _decimal(over)
    mixed = re.fullmatch(r"(\d+) (\d+)", over) if re.fullmatch(r"\d+ \d+/\d+", body) and not re.fullmatch(_PLAIN, over) else None
    above = Fraction(int(mixed[2])) if mixed else _decimal(over)
    below = _decimal(under)
    if not below:
        return None
    return above / below + (int(mixed[1]) if mixed else 0)


def _decimal(text: str) -> Fraction:
    """A number without sign, with or without a power of ten."""
    base, power = text, 0
    if split := re.search(r"e([+-]?\d+)$| ?[x×*·] ?10\^?(-?\d+|⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)$", text):
        base, power = text[: split.start()], int((split[1] or split[2]).translate(_POWERS))
    base = re.sub(r"[ '_]", "", base)
    point = max(base.rfind("."), base.rfind(","))
    separators = [sign for sign in base if sign in ".,"]
    groups = (len(separators) > 1 and len(set(separators)) == 1) or re.fullmatch(r"[1-9]\d{0,2},\d{3}", base) is not None
    whole, fraction = (base, "") if groups or point < 0 else (base[:point], base[point + 1 :])
    digits = re.sub(r"[.,]", "", whole) + fraction
    return Fraction(int(digits or "0")) * Fraction(10) ** (power - len(fraction))
