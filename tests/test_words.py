"""Words and sentences of a text in any script, and the form in which texts are compared."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.artifacts.shingles import sequences, shingle
from workbench.artifacts.words import ends_sentence, folded, sentences, tokens, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, World_1!", ["hello", "world_1"]),
        ("今日は、ABC。", ["今", "日", "は", "abc"]),
        ("コーヒー ｶﾞ", ["コ", "ー", "ヒ", "ー", "ガ"]),
        ("ＡＢＣ １２ ﬁnd o\u00adver", ["abc", "12", "find", "over"]),
        ("𠮷野家", ["𠮷", "野", "家"]),  # beyond the 16-bit characters
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),  # the vowels are marks
        ("ผมมา", ["ผ", "ม", "ม", "า"]),
        ("วันนี้", ["วั", "น", "นี้"]),
        ("שָׁלוֹם עֲלֵיכֶם", ["שָׁלוֹם", "עֲלֵיכֶם"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
    ],
)
def test_words_of_each_script(text: str, found: list[str]) -> None:
    assert words(text) == [unicodedata.normalize("NFC", word) for word in found]
    assert words(unicodedata.normalize("NFD", text)) == words(text)


@given(st.text())
def test_the_form_of_a_text_for_comparison_knows_no_composition(text: str) -> None:
    once = folded(text)
    assert folded(unicodedata.normalize("NFD", text)) == folded(unicodedata.normalize("NFC", text)) == once
    assert unicodedata.is_normalized("NFKC", once)
    assert folded(once) == once


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_tokens_of_a_script_with_blanks_are_what_stands_between_them(text: str) -> None:
    assert tokens(text) == text.split()


def test_tokens_of_scripts_without_blanks_are_letters() -> None:
    assert tokens("Das ist „GPU“: 図書館、二階。 - ok!") == ["Das", "ist", "„GPU“:", "図", "書", "館", "二", "階", "-", "ok!"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("One. Two! Three?", 3),
        ("One 1.5 is. Two!", 2),
        ('He said "Go!" Then "No."', 2),
        ("¿Vienes? ¡Sí! Vale.", 3),
        ("雨が降った。傘がない！どうする？", 3),
        ("他说：「好。」然后走了。", 2),
        ("هل تأتي؟ نعم. شكرا!", 3),
        ("क्या? हाँ। ठीक है।", 3),
        ("Πού είσαι; Εδώ.", 2),
        ("Who; what.", 1),
        ("Ինչո՞ւ։ Այո։", 2),
        ("သွားမယ်။ လာမယ်။", 2),
        ("བོད་ཡིག།", 1),
        ("ไปไหนมา ไปตลาด", 2),
        ("３．５円", 0),
        ("no end", 0),
    ],
)
def test_sentences_end_by_the_marks_of_their_script(text: str, number: int) -> None:
    assert sentences(text) == number
    assert ends_sentence(text) == (text[-1] in '.!?。？！」।։။།"')


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["." * 200_000 + "x", "。" * 200_000, '."' * 100_000 + "x", "." * 200_000 + "é", "(" * 200_000])
def test_marks_without_end_are_read_in_linear_time(text: str) -> None:
    assert sentences(text) == (text[0] == "。")


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(1, 4))
def test_a_word_sequence_is_found_exactly_where_it_stands(found: list[str], width: int) -> None:
    (hashes,) = sequences([" ".join(found)], [width])
    there = {tuple(found[start : start + width]) for start in range(len(found) - width + 1)}
    for text in ("a", "a b", "a b c", "c c b a", "b b"):
        if len(text.split()) == width:
            assert (int(shingle([text], 9).hashes[0]) in hashes.tolist()) == (tuple(text.split()) in there)
