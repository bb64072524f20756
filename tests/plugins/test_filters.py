"""The filters' rules, each at its boundary, and what `c4` removes."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from workbench_filter_c4 import C4, C4Config
from workbench_filter_gopher_quality import GopherQuality, GopherQualityConfig
from workbench_filter_length import Length, LengthConfig

from workbench.artifacts.corpus import Document
from workbench.errors import ArtifactError

# Gopher's rules one at a time: everything else is switched off.
GOPHER_OFF: dict[str, Any] = {
    "min_words": 0,
    "max_words": 1_000_000,
    "min_mean_word_length": 0,
    "max_mean_word_length": 1_000_000,
    "max_hash_ratio": 1_000,
    "max_ellipsis_ratio": 1_000,
    "max_bullet_lines": 1,
    "max_ellipsis_lines": 1,
    "min_alphabetic_words": 0,
    "min_stop_words": 0,
}
C4_OFF: dict[str, Any] = {
    "clean": False,
    "javascript": False,
    "policy": False,
    "lorem_ipsum": False,
    "curly_bracket": False,
    "min_sentences": 0,
}


def document(text: str) -> Document:
    return Document(text, "s", {"origin": "o"})


def length(text: str, **config: Any) -> str | None:
    return Length(LengthConfig(**config)).reject(document(text))


def gopher(text: str, **config: Any) -> str | None:
    return GopherQuality(GopherQualityConfig(**{**GOPHER_OFF, **config})).reject(document(text))


def c4(text: str, **config: Any) -> str | None:
    return C4(C4Config(**{**C4_OFF, **config})).reject(document(text))


def cleaned(text: str, **config: Any) -> str:
    return C4(C4Config(**config)).clean(document(text)).text


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        ({"min_characters": 11}, None),
        ({"min_characters": 12}, "min_characters"),
        ({"max_characters": 11}, None),
        ({"max_characters": 10}, "max_characters"),
        ({"min_words": 3}, None),
        ({"min_words": 4}, "min_words"),
        ({"max_words": 3}, None),
        ({"max_words": 2}, "max_words"),
    ],
)
def test_length_bounds_are_inclusive(config: dict[str, int], rule: str | None) -> None:
    assert length("one two six", **config) == rule


def test_length_refuses_bounds_that_leave_nothing() -> None:
    with pytest.raises(ValidationError, match="min_words 5 is above max_words 4"):
        LengthConfig(min_words=5, max_words=4)


@pytest.mark.parametrize(
    ("rule", "bound", "kept", "rejected"),
    [
        ("min_words", 3, "a b c", "a b"),
        ("max_words", 3, "a b c", "a b c d"),
        ("min_mean_word_length", 3, "abcd ab", "abc ab"),
        ("max_mean_word_length", 3, "abcd ab", "abcd abc"),
        ("max_hash_ratio", 0.5, "#a b", "#a #b"),
        ("max_ellipsis_ratio", 0.5, "a... b c d…", "a... b…"),
        ("max_bullet_lines", 0.5, "- a\n\nb", "- a\n• b\nc"),
        ("max_bullet_lines", 0, "**Note**\n-----\n* * *\n--flag\n-1 is it\n*so*", "a\n* b"),
        ("max_bullet_lines", 0.5, "-\n•a", "・あ\n■い\nc"),
        ("max_ellipsis_lines", 0.5, "a...\nb", "a...\nb…\nc"),
        ("min_alphabetic_words", 0.5, "a 1", "a 1 2"),
        ("min_stop_words", 2, "The cat of Rome", "the the cat"),
    ],
)
def test_gopher_rules_at_their_thresholds(rule: str, bound: float, kept: str, rejected: str) -> None:
    assert gopher(kept, **{rule: bound}) is None
    assert gopher(rejected, **{rule: bound}) == rule


def test_gopher_defaults_are_the_papers() -> None:
    default = GopherQuality(GopherQualityConfig())
    sentence = "The quality of prose that people have written to be read is seldom measured with numbers alone. "
    assert default.reject(document(sentence * 3)) is None
    assert default.reject(document(sentence * 2)) == "min_words"
    assert default.reject(document("lorem ipsum dolor amet " * 20)) == "min_stop_words"


def test_gopher_finds_stop_words_beside_punctuation() -> None:
    assert gopher("(The) cat, to.", min_stop_words=2) is None
    assert gopher("der Hund und die Katze", min_stop_words=2, stop_words=("der", "und")) is None


@pytest.mark.parametrize(
    ("config", "kept", "rejected", "rule"),
    [
        ({"lorem_ipsum": True}, "lorem, ipsum", "Lorem Ipsum dolor", "lorem_ipsum"),
        ({"curly_bracket": True}, "a [b]", "if x {", "curly_bracket"),
        ({"javascript": True}, "java script", "Enable JavaScript now", "javascript"),
        ({"policy": True}, "we eat cookies", "this site uses Cookies", "policy"),
        ({"min_sentences": 3}, "One. Two! Three?", "One 1.5 is. Two!", "min_sentences"),
        ({"min_sentences": 2}, 'He said "Go!" Then "No."', "Wait... what", "min_sentences"),
        ({"min_terminal_lines": 0.5}, "One.\ntwo", "One.\ntwo\nthree", "min_terminal_lines"),
        ({"min_terminal_lines": 1}, 'He said "no"', "And so on...", "min_terminal_lines"),
        ({"bad_words": ("rude", "very bad")}, "rudeness is bad", "a RUDE word", "bad_words"),
        ({"bad_words": ("very bad",)}, "very good", "it is Very bad.", "bad_words"),
        ({"bad_words": ("悪口",)}, "良い口", "彼は悪口を言った。", "bad_words"),
        ({"bad_words": ("rude",)}, "日本rudeness", "日本rude語", "bad_words"),
        ({"bad_words": ("หยาบ",)}, "สุภาพ", "คำหยาบคาย", "bad_words"),
        ({"bad_words": ("ก",)}, "กิน", "มาก", "bad_words"),
        ({"bad_words": ("gar\u00e7on",)}, "garcon", "un garc\u0327on.", "bad_words"),
        ({"bad_words": ("e\u0301t",)}, "\u00e9te\u0301", "\u00c9T", "bad_words"),
        ({"bad_words": ("कि",)}, "किताब की", "वह कि", "bad_words"),
        ({"bad_words": ("क",)}, "कि की", "क ख", "bad_words"),
        ({"bad_words": ("STRASSE",)}, "Strassen", "die Straße", "bad_words"),
        ({"bad_words": ("rude",)}, "rud", "ru\u200bde", "bad_words"),
        ({"bad_words": ("c#", "\u200b")}, "c", "in c# too", "bad_words"),
        ({"max_word_length": 4}, "日本語日本語。", "abc abcde", "max_word_length"),
        ({"min_sentences": 2}, "雨だ。傘を！", "雨だ。傘を", "min_sentences"),
        ({"min_terminal_lines": 1}, "他说：「好。」\n（完。）\nهل تأتي؟\n«Да»", "他说：\n走", "min_terminal_lines"),
        ({"min_terminal_lines": 1}, "ไปไหนมา", "ไปไหนมา\nsee this’s end’", "min_terminal_lines"),
    ],
)
def test_c4_page_rules(config: dict[str, Any], kept: str, rejected: str, rule: str) -> None:
    assert c4(kept, **config) is None
    assert c4(rejected, **config) == rule


def test_c4_removes_the_lines_that_the_paper_removes() -> None:
    text = "\n".join(
        [
            "Home | About",
            "The first line is kept.[12]",
            "Too short.",
            "Please switch on Javascript in your browser.",
            "We changed our privacy policy some days ago.",
            "This line just trails off ...",
            'The "last line" ends in a "quotation"',
        ]
    )
    assert cleaned(text) == 'The first line is kept.\nThe "last line" ends in a "quotation"'


# Prose as people write it, three sentences or more each, by the script.
PROSE = {
    "English": "The ferry leaves at eight in the morning. Who will have to carry the two boxes? Nobody told me!",
    "Spanish": "La barca sale a las ocho de la mañana. ¿Quién lleva las dos cajas? ¡Nadie me lo ha dicho!",
    "German": "Die Fähre fährt um acht Uhr ab. Wer trägt die zwei Kisten? Sie sagte: „Das weiß ich wirklich nicht.“",
    "French": "Le bac part à huit heures du matin. Qui portera les deux caisses ? Elle a dit : « Je ne le sais pas. »",
    "Greek": "Το πλοίο φεύγει στις οκτώ το πρωί. Ποιος θα πάρει τα κουτιά; Δεν μου το είπε κανείς!",
    "Russian": "Паром уходит в восемь утра. Кто понесёт обе коробки? Мне никто ничего не сказал!",
    "Chinese": "渡船早上八點離開碼頭。誰來搬這兩個箱子？沒有人告訴過我！",
    "Japanese": "渡し船は朝八時に出ます。二つの箱は誰が運びますか？「私は知りません。」と彼女は言った。",
    "Korean": "나룻배는 아침 여덟 시에 떠난다. 누가 상자 두 개를 옮길까? 아무도 나에게 말하지 않았다!",
    "Arabic": "تغادر العبارة في الثامنة صباحا. من سيحمل الصندوقين إلى هناك؟ لم يخبرني أحد بذلك!",
    "Urdu": "کشتی صبح آٹھ بجے روانہ ہوتی ہے۔ دونوں صندوق کون اٹھائے گا؟ مجھے کسی نے نہیں بتایا۔",
    "Hindi": "नाव सुबह आठ बजे निकलती है। दोनों डिब्बे कौन उठाएगा? मुझे किसी ने नहीं बताया।",
    "Thai": "เรือข้ามฟากออกแปดโมงเช้า ใครจะยกกล่องสองใบนี้ ไม่มีใครบอกฉันเลย",
    "Burmese": "ကူးတို့သင်္ဘောက မနက်ရှစ်နာရီ ထွက်တယ်။ သေတ္တာနှစ်လုံး ဘယ်သူသယ်မလဲ။ ကျွန်တော့်ကို ဘယ်သူမှမပြောဘူး။",
    "Khmer": "សាឡាងចេញនៅម៉ោងប្រាំបីព្រឹក។ តើអ្នកណានឹងលើកប្រអប់ពីរនេះ។ គ្មានអ្នកណាប្រាប់ខ្ញុំទេ។",
    "Amharic": "ጀልባው ጠዋት ሁለት ሰዓት ይነሳል። ሁለቱን ሳጥኖች ማን ይሸከማል? ማንም አልነገረኝም።",
    "Armenian": "Լաստանավը մեկնում է առավոտյան ութին։ Ո՞վ է տանելու երկու արկղերը։ Ինձ ոչ ոք ոչինչ չի ասել։",
    "Hebrew": "המעבורת יוצאת בשמונה בבוקר. מי יישא את שתי התיבות? איש לא סיפר לי על כך!",
}


@pytest.mark.parametrize("language", PROSE)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_prose_of_every_script_passes_all_of_c4_and_of_gopher_but_its_english_words(language: str, form: str) -> None:
    text = unicodedata.normalize(form, PROSE[language])  # type: ignore[arg-type]
    assert cleaned(text) == text
    assert C4(C4Config()).reject(document(text)) is None
    filter_ = GopherQuality(GopherQualityConfig(min_words=10, min_stop_words=0, min_mean_word_length=2.5))
    assert filter_.reject(document(text)) is None
    assert GopherQuality(GopherQualityConfig(min_words=10, min_mean_word_length=2.5)).reject(document(text)) == (
        None if language == "English" else "min_stop_words"
    )
    menu = " | ".join(text.split()[:2]).rstrip(".。!?؟") + " |"
    assert cleaned(menu) == (menu if language == "Thai" else "")  # no mark tells a menu from a sentence


def test_words_of_scripts_without_blanks_are_counted_by_letter() -> None:
    assert length("渡船早上八點", min_words=6, max_words=6) is None
    assert length("渡船早上八點", min_words=7) == "min_words"
    assert length("วันนี้", min_words=3, max_words=3) is None  # the vowels above and the tone are marks
    assert gopher("渡船早上八點 8 abc", min_mean_word_length=3) is None
    assert gopher("在 一个 is", min_stop_words=2, stop_words=("一个", "is", "los")) is None
    assert gopher("EL N\u0303U \u00f1u", min_stop_words=2, stop_words=("el", "ñu")) is None


def test_c4_removes_lines_of_machines_and_empty_citations() -> None:
    long = "x" * 1001
    assert cleaned(f"A line that is kept, it is said.[] So it is.\nThis one has {long} in its middle.") == (
        "A line that is kept, it is said. So it is."
    )
    assert cleaned(f"This one has {long[1:]} in its middle.") != ""
    chinese = "一" * 1500 + "。"
    assert cleaned(chinese) == chinese


def test_c4_keeps_blank_lines_between_what_it_keeps() -> None:
    assert cleaned("menu\n\nOne two three four five.\n\nFive four three two one.\nend") == (
        "One two three four five.\n\nFive four three two one."
    )


def test_c4_without_cleaning_returns_the_document_itself() -> None:
    given_document = document("no end\nshort.")
    assert C4(C4Config(clean=False)).clean(given_document) is given_document


def test_c4_rejects_a_document_of_which_no_line_is_left() -> None:
    filter_ = C4(C4Config())
    assert filter_.reject(filter_.clean(document("menu\nhome"))) == "no_line"


def test_c4_cleaning_switches() -> None:
    text = "A line without an end\nShort.[3]"
    assert cleaned(text, terminal_punctuation=False, min_line_words=0, citations=False) == text


@given(st.text(alphabet='ab .!?"\n[1]{}', max_size=80))
def test_c4_cleaning_twice_changes_nothing_more(text: str) -> None:
    config = {"citations": False}
    once = cleaned(text, **config)
    assert cleaned(once, **config) == once


def test_c4_reads_its_list_of_bad_words_and_puts_its_digest_in_the_lock(tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("# not a comment\nrude\n\n", encoding="utf-8")
    config = C4Config(**{**C4_OFF, "bad_words_file": str(listed)})
    assert C4(config).reject(document("a rude word")) == "bad_words"
    before = C4(config).external_inputs()
    listed.write_text("other\n", encoding="utf-8")
    assert before != C4(config).external_inputs()
    assert str(tmp_path) not in str(before)
    assert C4(C4Config()).external_inputs() == {}


def test_c4_says_that_the_list_is_missing_or_no_utf8(tmp_path: Path) -> None:
    config = C4Config(**{**C4_OFF, "bad_words_file": str(tmp_path / "none.txt")})
    with pytest.raises(ArtifactError, match="can't be read"):
        C4(config).external_inputs()
    (tmp_path / "none.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="not UTF-8"):
        C4(config).reject(document("text"))
