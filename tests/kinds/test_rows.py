"""The shapes of other people's rows: each is read as meant, or set apart with the reason, and every row is accounted for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from workbench.artifacts import examples, table
from workbench.errors import ArtifactError
from workbench.kinds.recognition import recognise
from workbench.kinds.rows import BadRow, Row, RowsConfig, RowSource
from workbench.run import Run
from workbench.testing import make_run

USER: dict[str, Any] = {"role": "user", "content": "How deep is the well?"}
ANSWER = {"role": "assistant", "content": "Nine metres."}
CALL = {"id": "c1", "type": "function", "function": {"name": "depth", "arguments": '{"well": 3}'}}


class Given(RowSource[RowsConfig]):
    """Rows that a test gives."""

    name = "given"
    Config = RowsConfig
    given: Sequence[dict[str, Any] | BadRow] = ()

    def rows(self, run: Run) -> Iterator[Row | BadRow]:
        """Yield them."""
        for number, values in enumerate(self.given, 1):
            yield values if isinstance(values, BadRow) else Row(f"given#{number}", "given", values)


def curate(
    tmp_path: Path, rows: Sequence[dict[str, Any] | BadRow], produces: str, **config: Any
) -> tuple[list[dict[str, Any]], Run]:
    """The rows of the artifact and the run."""
    source = Given(RowsConfig.model_validate({"produces": produces, "heldout": 0, "max_bad_share": 1, **config}))
    source.given = rows
    run = make_run(tmp_path)
    source.execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    made = [row for split in examples.SPLITS for row in examples.read(tmp_path / "out", split)]
    for row in made:
        row.pop("id")
    return made, run


def one(tmp_path: Path, row: dict[str, Any], produces: str = "conversations", **config: Any) -> dict[str, Any]:
    """What a single row becomes."""
    (made,), _ = curate(tmp_path, [row], produces, **config)
    examples.validate(tmp_path / "out", produces)
    return made


def reason(tmp_path: Path, row: dict[str, Any], produces: str = "conversations", **config: Any) -> str:
    """Why a row is set apart."""
    made, run = curate(tmp_path, [row], produces, **config)
    assert made == []
    (shown,) = run.listener.tables["quarantine"]
    assert run.summary[f"rejected.unreadable.{shown['reason']}"] == 1
    return f"{shown['reason']}: {shown['detail']}"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"messages": json.dumps([USER, ANSWER])},
        {"conversations": [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": ANSWER["content"]}]},
        {
            "messages": None,
            "conversations": [{"from": "user", "value": USER["content"]}, {"role": "model", "content": "Nine metres."}],
        },
        {"instruction": "How deep is the well?", "input": "", "output": "Nine metres."},
        {"prompt": "How deep is the well?", "completion": "Nine metres."},
        {"prompt": [USER], "completion": [ANSWER], "prompt_id": 3},
        {"messages": [{"role": "system", "content": " "}, USER, ANSWER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "How deep is the well?"}]}, ANSWER]},
        {
            "messages": [{**USER, "weight": math.nan, "tool_calls": None}, {**ANSWER, "tool_calls": [], "images": None}],
            "tools": [],
        },
    ],
)
def test_one_conversation_in_the_shapes_that_people_have(tmp_path: Path, row: dict[str, Any]) -> None:
    assert one(tmp_path, row, max_bad_share=0) == {"messages": [USER, ANSWER]}


def test_formats_are_chosen_row_by_row_and_counted(tmp_path: Path) -> None:
    rows = [
        {"messages": [USER, ANSWER]},
        {"instruction": "Count.", "input": "a b", "output": "2"},
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
    ]
    made, run = curate(tmp_path, rows, "conversations")
    assert len(made) == 3
    assert {name: value for name, value in run.summary.items() if name.startswith("format.")} == {
        "format.messages": 1,
        "format.alpaca": 1,
        "format.sharegpt": 1,
    }


def test_an_instruction_keeps_its_input_its_system_and_its_history(tmp_path: Path) -> None:
    row = {
        "instruction": "Count the vowels.",
        "input": "aeio",
        "output": "4",
        "system": "You count.",
        "history": [["Hello.", "Good day."]],
        "text": "Below is an instruction …",
    }
    assert [(turn["role"], turn["content"]) for turn in one(tmp_path, row)["messages"]] == [
        ("system", "You count."),
        ("user", "Hello."),
        ("assistant", "Good day."),
        ("user", "Count the vowels.\n\naeio"),
        ("assistant", "4"),
    ]


@pytest.mark.parametrize(
    ("row", "config", "field"),
    [
        ({"prompt": "Count the vowels.", "completion": "4", "input": "aeio"}, {}, "input"),
        ({"instruction": "Answer.", "output": "4", "context": "The well has 4 rungs."}, {}, "context"),
        ({"prompt": "Which?", "completion": "B", "choices": ["x", "y"]}, {}, "choices"),
        ({"prompt": "Say yes.", "completion": "no", "label": False}, {}, "label"),
        ({"messages": [USER, ANSWER], "weight": 0.5}, {}, "weight"),
        ({"messages": [USER, ANSWER], "system_prompt": "You dig."}, {}, "system_prompt"),
        ({"messages": [USER, ANSWER], "images": [b"\x89PNG"]}, {}, "images"),
        ({"messages": [{**USER, "images": ["a.png"]}, ANSWER]}, {}, "images"),
        ({"messages": [USER, ANSWER], "chat_template_kwargs": {"thinking": False}}, {}, "chat_template_kwargs"),
    ],
)
def test_a_field_that_changes_the_meaning_is_read_or_sets_the_row_apart(
    tmp_path: Path, row: dict[str, Any], config: dict[str, Any], field: str
) -> None:
    why = reason(tmp_path, row, **config)
    assert why.startswith("unread-field")
    assert repr(field) in why


def test_columns_and_ignored_columns_say_what_such_a_field_is(tmp_path: Path) -> None:
    row = {"messages": [USER, ANSWER], "system_prompt": "You dig.", "weight": 70.5, "context": "none of ours"}
    made = one(tmp_path, row, columns={"system": "system_prompt"}, ignored_columns=["weight"])
    assert [turn["role"] for turn in made["messages"]] == ["system", "user", "assistant"]
    row = {"prompt": "How deep?", "completion": "Nine metres.", "weight": 1, "label": True}
    again = tmp_path / "again"
    again.mkdir()
    assert len(one(again, row)["messages"]) == 2


def test_tool_calls_reasoning_and_weights_reach_the_artifact_with_plain_rows_beside_them(tmp_path: Path) -> None:
    row = {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
            {"role": "tool", "content": "9", "tool_call_id": "c1", "name": "depth"},
            {**ANSWER, "reasoning_content": "The tool says 9."},
        ]
    }
    plain = {"messages": [{**USER, "content": f"{number}?"} for number in range(1)] + [ANSWER]}
    (first, second, third), _ = curate(tmp_path, [plain, row, {"messages": [USER, ANSWER]}], "conversations")
    examples.validate(tmp_path / "out", "conversations")
    asked, called, answered, said = second["messages"]
    assert (called["content"], called["tool_calls"], called["weight"]) == ("", [CALL], 0)
    assert (answered["role"], answered["name"], answered["tool_call_id"], answered["content"]) == ("tool", "depth", "c1", "9")
    assert said["reasoning_content"] == "The tool says 9."
    assert all(
        turn[field] is None for turn in (*first["messages"], *third["messages"], asked) for field in ("weight", "tool_calls")
    )
    assert first["messages"][0]["content"] == "0?"


def test_a_field_that_comes_late_widens_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ROWS_PER_SHARD", 1_000)
    rows: list[dict[str, Any]] = [{"messages": [{**USER, "content": f"{number}?"}, ANSWER]} for number in range(3_500)]
    rows[2_600]["messages"][1] = {**ANSWER, "weight": 1}
    rows[3_200]["messages"][1] = {**ANSWER, "reasoning_content": "Deep."}
    made, _ = curate(tmp_path, rows, "conversations")
    examples.validate(tmp_path / "out", "conversations")
    assert [row["messages"][0]["content"] for row in made] == [f"{number}?" for number in range(3_500)]
    assert [number for number, row in enumerate(made) if row["messages"][1]["weight"] is not None] == [2_600]
    assert made[3_200]["messages"][1]["reasoning_content"] == "Deep."
    assert len(table.shards(tmp_path / "out", "train")) == 4
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".parquet"}


def test_plain_rows_have_no_other_columns_and_the_id_of_before(tmp_path: Path) -> None:
    made, _ = curate(tmp_path, [{"messages": [USER, ANSWER]}], "conversations")
    assert made == [{"messages": [USER, ANSWER]}]
    (row,) = examples.read(tmp_path / "out", "train")
    assert row["id"] == table.content_id({"messages": [USER, ANSWER]})


@pytest.mark.parametrize(
    "call",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "depth", "arguments": {"well": 3}}}]},
        {"role": "assistant", "content": "", "function_call": {"name": "depth", "arguments": '{"well": 3}'}},
        {"from": "function_call", "value": '{"name": "depth", "arguments": {"well": 3}}'},
    ],
)
def test_calls_in_each_form_become_one(tmp_path: Path, call: dict[str, Any]) -> None:
    row = {"messages": [USER, call, {"from": "observation", "value": "9"}, ANSWER], "tools": '[{"name": "depth"}]'}
    made = one(tmp_path, row)
    assert made["messages"][1]["tool_calls"][0]["function"] == {"name": "depth", "arguments": '{"well": 3}'}
    assert json.loads(made["tools"]) == [{"name": "depth"}]


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ({"role": "assistant", "content": None}, "missing-value"),
        ({"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "not-text-part: .*image_url"),
        ({"role": "assistant", "content": "x", "weight": "half"}, "bad-weight"),
        ({"role": "assistant", "content": "x", "weight": 0.5}, "bad-weight"),
        ({"role": "user", "content": "x", "weight": 1}, "bad-weight"),
        ({"role": "assistant", "content": "x", "weight": 0}, "no-answer"),
        ({"role": "assistant", "content": 3}, "not-text"),
        ({"role": "critic", "content": "x"}, "not-messages"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}, "bad-tool-call"),
        ({"role": "assistant", "content": None, "refusal": "No."}, "unread-field: .*refusal"),
    ],
)
def test_what_a_turn_cannot_be_kept_for_is_named(tmp_path: Path, turn: dict[str, Any], why: str) -> None:
    import re

    assert re.match(why, reason(tmp_path, {"messages": [USER, turn]}))


def test_a_list_is_a_conversation_only_if_its_items_have_roles(tmp_path: Path) -> None:
    towns = '[{"town": "Lugo"}, {"town": "Soria"}]'
    made = one(tmp_path, {"prompt": "List two towns as JSON.", "completion": towns})
    assert made["messages"][1] == {"role": "assistant", "content": towns}
    again = tmp_path / "again"
    again.mkdir()
    asked = {"prompt": "Write a chat as JSON.", "completion": '[{"role": "user", "content": "Lugo?"}]'}
    assert reason(again, asked).startswith("no-answer")


def test_an_empty_system_turn_is_no_turn_and_is_counted(tmp_path: Path) -> None:
    made, run = curate(
        tmp_path, [{"messages": [{"role": "system", "content": ""}, USER, ANSWER]}], "conversations", max_bad_share=0
    )
    assert made == [{"messages": [USER, ANSWER]}]
    assert run.summary["changed.empty-system-turn"] == 1
    assert run.listener.tables["changed"] == [{"record": "given#1", "change": "empty-system-turn"}]


SYSTEM = {"role": "system", "content": "You dig wells."}
WORSE = {"role": "assistant", "content": "No idea."}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": USER["content"], "chosen": ANSWER["content"], "rejected": WORSE["content"]}, [USER]),
        ({"prompt": [USER], "chosen": [ANSWER], "rejected": WORSE["content"]}, [USER]),
        ({"prompt": USER["content"], "chosen": [USER, ANSWER], "rejected": [USER, WORSE]}, [USER]),
        ({"prompt": USER["content"], "chosen": [SYSTEM, USER, ANSWER], "rejected": [SYSTEM, USER, WORSE]}, [SYSTEM, USER]),
        ({"prompt": [SYSTEM, USER], "chosen": [USER, ANSWER], "rejected": [USER, WORSE]}, [SYSTEM, USER]),
        ({"prompt": [SYSTEM, USER], "chosen": [SYSTEM, USER, ANSWER], "rejected": [SYSTEM, USER, WORSE]}, [SYSTEM, USER]),
        ({"chosen": [USER, ANSWER], "rejected": [USER, WORSE]}, [USER]),
        ({"chosen": [{**USER, "weight": 0}, {**ANSWER, "weight": 1}], "rejected": [{**USER, "weight": 0}, WORSE]}, [USER]),
        (
            {"system": "You dig wells.", "question": USER["content"], "chosen": "Nine metres.", "rejected": "No idea."},
            [SYSTEM, USER],
        ),
        ({"instruction": USER["content"], "chosen": "Nine metres.", "rejected": "No idea."}, [USER]),
        (
            {
                "conversations": [{"from": "human", "value": USER["content"]}],
                "chosen": {"from": "gpt", "value": "Nine metres."},
                "rejected": {"from": "gpt", "value": "No idea."},
            },
            [USER],
        ),
        ({"prompt": {"messages": [USER], "tools": []}, "chosen": [ANSWER], "rejected": [WORSE]}, [USER]),
        (
            {
                "chosen": "\n\nHuman: How deep is the well?\n\nAssistant: Nine metres.",
                "rejected": "\n\nHuman: How deep is the well?\n\nAssistant: No idea.",
            },
            [USER],
        ),
        ({"prompt": "\n\nHuman: How deep is the well?\n\nAssistant:", "chosen": " Nine metres.", "rejected": "No idea."}, [USER]),
    ],
)
def test_one_preference_in_the_shapes_that_people_have(tmp_path: Path, row: dict[str, Any], prompt: list[dict[str, str]]) -> None:
    made = one(tmp_path, row, "preferences")
    assert made["prompt"] == prompt
    assert [turn["content"].strip() for turn in (*made["chosen"], *made["rejected"])] == ["Nine metres.", "No idea."]


@pytest.mark.parametrize("prompt", ["How deep is the old well?", "\n\nHuman: How deep is the old well?\n\nAssistant:"])
def test_texts_that_repeat_the_prompt_are_answers_without_it(tmp_path: Path, prompt: str) -> None:
    row = {"prompt": prompt, "chosen": f"{prompt} Nine metres.", "rejected": f"{prompt} No idea."}
    made, run = curate(tmp_path, [row], "preferences")
    assert [turn["content"] for turn in (*made[0]["prompt"], *made[0]["chosen"], *made[0]["rejected"])] == [
        "How deep is the old well?",
        "Nine metres.",
        "No idea.",
    ]
    assert run.summary["changed.repeated-prompt"] == 1


def test_an_answer_that_is_a_dialogue_stays_a_text_beside_a_prompt(tmp_path: Path) -> None:
    said = "Human: Hi.\n\nAssistant: Good day."
    made = one(tmp_path, {"prompt": "Hi", "chosen": said, "rejected": "Hi yourself."}, "preferences")
    assert made["chosen"] == [{"role": "assistant", "content": said}]
    assert made["rejected"] == [{"role": "assistant", "content": "Hi yourself."}]


def test_the_common_beginning_of_longer_talks_is_the_prompt(tmp_path: Path) -> None:
    before = [USER, WORSE, {"role": "user", "content": "Look again."}]
    row = {"prompt": "Look again.", "chosen": [*before, ANSWER], "rejected": [*before, {**WORSE, "content": "Dark."}]}
    assert one(tmp_path, row, "preferences")["prompt"] == before


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "Another question?", "chosen": [USER, ANSWER], "rejected": [USER, WORSE]}, "prompt-differs"),
        ({"chosen": "The well is deep.", "rejected": "The well is dry."}, "no-prompt"),
        ({"prompt": None, "chosen": [USER, ANSWER], "rejected": [USER, WORSE]}, "missing-value"),
        ({"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "Else?"}, WORSE]}, "no-prompt"),
        ({"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, WORSE]}, "not-an-answer"),
        ({"prompt": "x", "chosen": [USER, ANSWER], "rejected": "No idea."}, "not-an-answer"),
        ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, "no-preference"),
        ({"prompt": [USER], "chosen": [{**ANSWER, "weight": 0}], "rejected": [WORSE]}, "unread-field"),
        ({"prompt": [USER], "chosen": [{**ANSWER, "weight": 0.5}], "rejected": [WORSE]}, "bad-weight"),
        ({"prompt": "x", "input": "y", "chosen": "Nine metres.", "rejected": "No idea."}, "unread-field"),
        (
            {
                "prompt": [{"role": "system", "content": "Be brief."}, USER],
                "chosen": [SYSTEM, USER, ANSWER],
                "rejected": [SYSTEM, USER, WORSE],
            },
            "prompt-differs",
        ),
    ],
)
def test_a_preference_that_fits_no_shape_is_set_apart(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    assert reason(tmp_path, row, "preferences").startswith(why)


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        ("2 boxes of 500, so <<2*500=1000>>1000.\n#### 1,000", "1000"),
        ("#### -3", "-3"),
        ("It is half.\n#### 1/2\n", "1/2"),
        ("First #### 1 and then\n#### 1,234,567.50", "1234567.50"),
        ("#### 12,5", "12,5"),
        ("42", "42"),
        (18, "18"),
        ("see #### in the text", "see #### in the text"),
    ],
)
def test_the_gold_of_gsm8k_is_what_follows_its_mark(tmp_path: Path, written: object, gold: str) -> None:
    made = one(tmp_path, {"question": "How many pins?", "answer": written}, "problems", verifier="exact-answer")
    assert made["answer"] == gold


def test_a_format_that_is_asked_for_is_held(tmp_path: Path) -> None:
    row = {"question": "How many?", "answer": "so #### 4"}
    assert (
        one(tmp_path, {"prompt": "x", "answer": "a\n#### 4"}, "problems", verifier="v", format="prompt-answer")["answer"]
        == "a\n#### 4"
    )
    again = tmp_path / "again"
    again.mkdir()
    assert reason(again, row, "problems", verifier="v", format="gsm8k").startswith("no-gold")
    with pytest.raises(ValidationError, match="set `produces: conversations`"):
        RowsConfig(produces="preferences", format="alpaca")


@pytest.mark.parametrize("answer", [math.nan, None, "  ", math.inf])
def test_an_answer_that_is_none_makes_no_problem(tmp_path: Path, answer: object) -> None:
    why = reason(tmp_path, {"prompt": "1 + 1?", "answer": answer}, "problems", verifier="exact-answer")
    assert why.startswith(("missing-value", "not-finite"))


@pytest.mark.parametrize(
    ("rows", "config", "remedy"),
    [
        ([{"messages": [{"from": "x"}], "instruction": "a", "output": "b"}], {"produces": "conversations"}, "format: alpaca"),
        (
            [{"prompt": "a", "completion": "b", "chosen": "c", "rejected": "d"}] * 3,
            {"produces": "problems", "verifier": "v"},
            "preferences",
        ),
        ([{"prompt": "a", "completion": "b", "context": "c"}], {"produces": "conversations"}, "ignored_columns"),
        ([BadRow("a.csv:2", "malformed-csv", "x", fix="mend it so")], {"produces": "conversations"}, "mend it so"),
    ],
)
def test_the_remedy_for_rows_that_are_all_bad_is_never_to_leave_them_out(
    tmp_path: Path, rows: list[dict[str, Any]], config: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(ArtifactError) as caught:
        curate(tmp_path, rows, **config, max_bad_share=0.5)
    assert "max_bad_share" not in caught.value.fix
    assert remedy in caught.value.fix


def test_leaving_out_is_a_remedy_for_a_few(tmp_path: Path) -> None:
    rows = [{"messages": [{**USER, "content": f"{number}?"}, ANSWER]} for number in range(9)]
    with pytest.raises(ArtifactError, match="1 of 10 records") as caught:
        curate(tmp_path, [*rows, {"messages": None}], "conversations", max_bad_share=0.05)
    assert "raise `max_bad_share`" in caught.value.fix


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": 1, "conversation": [USER, ANSWER]}, {"produces": "conversations", "format": "messages"}),
        ({"instruction": "a", "context": "b", "response": "c"}, {"produces": "conversations", "format": "alpaca"}),
        ({"question": "a", "answer": "b" * 200}, {"produces": "conversations", "format": "prompt-completion"}),
        ({"question": "a", "answer": "4"}, {"produces": "problems", "format": "prompt-answer"}),
        ({"system_prompt": "s", "question": "a", "response": "c"}, {"produces": "conversations", "format": "prompt-completion"}),
        ({"url": "x", "content": "a text"}, {"produces": "corpus", "columns": {"text": "content"}}),
        (
            {"id": "7", "review": "A long text of a column with a name of its own."},
            {"produces": "corpus", "columns": {"text": "review"}},
        ),
    ],
)
def test_recognise_names_settings_that_read_the_row(row: dict[str, Any], told: dict[str, Any]) -> None:
    found = recognise([row] * 3)
    assert found is not None
    assert found.fit == 3
    assert told.items() <= found.settings().items()
    RowsConfig.model_validate(found.settings())


def test_nothing_is_recognised_in_numbers() -> None:
    assert recognise([{"x": 1, "y": 2.5}]) is None
    assert recognise([]) is None


TEXTS = st.one_of(st.text(max_size=6), st.sampled_from(["Human: x", "\ud800", "a\0b", " ", "well"]))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), TEXTS)
CALLS = st.fixed_dictionaries({}, optional={"id": SCALARS, "function": SCALARS, "name": SCALARS, "arguments": SCALARS})
TURNS = st.lists(
    st.one_of(
        SCALARS,
        st.fixed_dictionaries(
            {},
            optional={
                "role": st.sampled_from(["system", "user", "assistant", "tool", "critic"]),
                "from": st.sampled_from(["human", "gpt", "function_call"]),
                "content": st.one_of(SCALARS, st.just([{"type": "text", "text": "a"}]), st.just([{"type": "image"}])),
                "value": SCALARS,
                "weight": SCALARS,
                "tool_calls": st.one_of(st.none(), st.just([CALL]), st.lists(CALLS, max_size=2), SCALARS),
                "reasoning_content": SCALARS,
                "name": SCALARS,
                "tool_call_id": SCALARS,
                "images": SCALARS,
            },
        ),
    ),
    max_size=4,
)
VALUES = st.one_of(
    SCALARS,
    TURNS,
    TURNS.map(json.dumps),
    st.lists(st.lists(SCALARS, min_size=2, max_size=2), max_size=2),
    st.just("\n\nHuman: a\n\nAssistant: b"),
    st.just("c\n#### 1,000"),
)
COLUMNS = ("messages", "conversations", "instruction", "input", "output", "prompt", "completion", "system", "history", "tools")
ROWS = st.lists(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys((*COLUMNS, "chosen", "rejected", "question", "answer", "weight", "label"), VALUES)
    ),
    max_size=12,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=ROWS, produces=st.sampled_from(["conversations", "preferences", "problems"]))
def test_whatever_rows_go_in_each_comes_out_or_is_counted_as_left_out(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], produces: str
) -> None:
    tmp = tmp_path_factory.mktemp("rows")
    made, run = curate(tmp, rows, produces, verifier="exact-answer")
    left_out = sum(value for name, value in run.summary.items() if name.startswith("rejected."))
    assert run.summary["read"] == len(rows)
    assert len(made) == run.summary["kept"]
    assert len(made) + left_out == len(rows)
    if made:
        examples.validate(tmp / "out", produces)
    shown = run.listener.tables.get("quarantine", [])
    assert len(shown) == left_out - run.summary.get("rejected.source.repeated", 0)
    for row in made:
        for column in ("messages", "prompt", "chosen", "rejected"):
            for turn in row.get(column, ()):
                assert turn["content"].strip() or turn["role"] == "tool" or turn["tool_calls"]
