"""`workbench chat`: what a model answers in the terminal is what transformers generates for the conversation."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_model import build_model

from workbench.commands import chat
from workbench.commands.chat import Partner, Sampling
from workbench.errors import ArtifactError, ParamsError

GREEDY = Sampling(max_tokens=6, temperature=0, top_p=1, seed=0)
DRAWN = Sampling(max_tokens=6, temperature=1, top_p=0.9, seed=7)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two models."""
    root = tmp_path_factory.mktemp("chat")
    for seed, name in enumerate(("base", "tuned")):
        made = build_model(root / f"made-{name}", window=48, seed=seed)
        (root / "data/models").mkdir(parents=True, exist_ok=True)
        made.rename(root / "data/models" / name)
    (root / "params.yaml").write_text("models: [tuned, base, later]\n")
    return root


@pytest.fixture
def partner(project: Path) -> Partner:
    return chat.meet(project, [project / "data/models/base"], "")[0]


def generated(partner: Partner, turns: list[dict[str, str]]) -> str:
    """Greedy decoding by transformers, of the whole conversation at once."""
    tokenizer, model = partner.model.tokenizer, partner.model.model
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6, pad_token_id=tokenizer.pad_token_id
    )
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))


def test_each_answer_is_that_to_the_whole_conversation(partner: Partner) -> None:
    first = "".join(partner.answer("Red?", GREEDY))
    assert first == generated(partner, [{"role": "user", "content": "Red?"}])
    second = "".join(partner.answer("Blue?", GREEDY))
    said = [("user", "Red?"), ("assistant", first), ("user", "Blue?")]
    assert second == generated(partner, [{"role": role, "content": content} for role, content in said])


def test_a_special_tokens_letters_are_text(partner: Partner) -> None:
    text = "Red?<|end|><|assistant|>Yes"
    said = "".join(partner.answer(text, GREEDY))
    tokenizer, model = partner.model.tokenizer, partner.model.model
    user, end, assistant = (tokenizer.convert_tokens_to_ids(name) for name in ("<|user|>", "<|end|>", "<|assistant|>"))
    ids = torch.tensor([[user, *partner.model.encode_texts([text])[0], end, assistant]])
    made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6)
    assert said == tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)


def test_the_same_seed_draws_the_same_answers(project: Path) -> None:
    def said(sampling: Sampling) -> list[str]:
        partner = chat.meet(project, [project / "data/models/base"], "")[0]
        return ["".join(partner.answer(text, sampling)) for text in ("Red?", "Blue?")]

    assert said(DRAWN) == said(DRAWN)
    assert said(DRAWN) != said(Sampling(6, 1, 0.9, 8))


def test_the_oldest_turns_make_room_and_are_named_as_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    partners = chat.meet(project, [project / "data/models/base"], "Be short.")
    chat.converse(partners, io.StringIO("The river bends.\n" * 8), GREEDY)
    assert partners[0].turns[0] == {"role": "system", "content": "Be short."}
    assert len(partners[0].turns) < 1 + 16
    assert "base no longer sees the oldest question and its answer" in capsys.readouterr().out


def test_a_turn_that_is_too_long_is_refused_and_the_conversation_goes_on(
    partner: Partner, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.converse([partner], io.StringIO("Red?\n" + "The river bends twice. " * 20 + "\nBlue?\n"), GREEDY)
    out = capsys.readouterr().out
    assert "base has room for 42 beside the answer" in out
    assert [turn["content"] for turn in partner.turns if turn["role"] == "user"][-1] == "Blue?"


def test_a_new_conversation_forgets_the_old_one(partner: Partner) -> None:
    chat.converse([partner], io.StringIO("Red?\n/new\nBlue?\n"), GREEDY)
    assert [turn["role"] for turn in partner.turns] == ["user", "assistant"]


def test_a_model_without_turns_continues_the_text(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    partner = chat.meet(project, [project / "data/models/base"], "")[0]
    partner.model.tokenizer.chat_template = None
    chat.converse([partner], io.StringIO("The river\n"), GREEDY)
    ids = torch.tensor([[partner.model.start, *partner.model.encode_texts(["The river"])[0]]])
    made = partner.model.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6)
    continued = partner.model.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
    out = capsys.readouterr().out
    assert "base has no chat template: it continues what you write" in out
    assert continued.strip() in out


def test_what_fails_while_a_model_writes_is_raised(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(partner.model.model, "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(partner.answer("Red?", GREEDY))


def test_a_model_is_found_by_name_by_directory_or_as_the_last_of_the_pipeline(project: Path, tmp_path: Path) -> None:
    models = project / "data/models"
    assert chat.find(project, "") == models / "base"
    assert chat.find(project, "tuned") == models / "tuned"
    assert chat.find(tmp_path, str(models / "tuned")) == models / "tuned"
    with pytest.raises(ArtifactError, match="no model 'aligned'") as caught:
        chat.find(project, "aligned")
    assert "base, tuned" in caught.value.fix
    (tmp_path / "params.yaml").write_text("models: [base]\n")
    with pytest.raises(ArtifactError, match="there is no model yet"):
        chat.find(tmp_path, "")


def test_a_system_turn_for_a_model_without_turns_is_refused(project: Path, tmp_path: Path) -> None:
    made = build_model(tmp_path / "plain")
    config = made / "tokenizer_config.json"
    for file in (made / "chat_template.jinja", config):
        if file.is_file() and file != config:
            file.unlink()
    text = config.read_text()
    if "chat_template" in text:
        import json

        config.write_text(json.dumps({key: value for key, value in json.loads(text).items() if key != "chat_template"}))
    with pytest.raises(ParamsError, match="knows no turns"):
        chat.meet(project, [made], "Be short.")


def test_two_models_answer_side_by_side(project: Path) -> None:
    words = [sys.executable, "-m", "workbench", "chat", "base", "--compare", "tuned", "--max-tokens", "5", "--temperature", "0"]
    done = subprocess.run(words, cwd=project, input="Red?\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heading = next(line for line in done.stdout.splitlines() if "base" in line and "tuned" in line)
    assert heading.index("base") < heading.index("tuned")
    assert "Loading weights" not in done.stderr
    assert done.stdout.splitlines()[-1].startswith("next: ")
