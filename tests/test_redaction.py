"""What is hidden, and that ordinary text of this field stays as it is."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from workbench import redaction
from workbench.redaction import HIDDEN, Redactor

ORDINARY = [
    "tokens: 2007040",
    "max_tokens: 512, max_new_tokens=64",
    "end_token: <|end|>",
    "pad_token='<|pad|>', eos_token=\"</s>\"",
    "pad_token=tokenizer.eos_token",
    "tokenizer: bpe",
    "token: the",
    "key: text",
    "the password: choose one",
    "password : str, optional",
    "secret: bool = False",
    "login(token=token, api_key=os.environ['API_KEY'], password=get_password())",
    "lock entry stages.sft, key sft.with.steps",
    "https://mlflow.org/docs?mail=a@b.org",
    "git@github.com:org/repo.git",
    "git+ssh://git@github.com/org/repo.git",
    'f"https://{user}:{password}@{host}/"',
    "sk-learn and hf_hub_download",
    "basic understanding, bearer of the flag",
    "bits_per_token=3.25 tokens_per_second: 14000.5",
    "access_token: null\napi_key: ''\nhf_token: ${HF_TOKEN}",
]
SECRETS = {
    "in a URL": "https://user:canary-7f3a@host/repo.git",
    "alone in a URL": "https://canary-7f3a@host/repo.git",
    "in a database's URL": "postgresql://user:canary-7f3a@localhost/db",
    "assigned": "password=canary token=canary API_KEY=canary",
    "a variable": "HF_TOKEN=canary-7f3a",
    "in prose": "the server said: token: canary-7f3a is not valid",
    "in a query": "GET /v1?access_token=canary-7f3a&x=1",
    "quoted": "{'api_key': 'canary', \"client_secret\": \"canary\"}",
    "spaced": "secret_access_key = canary-7f3a",
    "a header": "Authorization: Bearer canary-7f3a-canary",
    "well known": "hf_canarycanarycanarycanary ghp_canarycanary0123456789 sk-canary0123456789012345",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    redactor = redaction.of_environment()
    assert redactor.text(text) == text
    assert redactor.source(text) == text


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_secrets_are_hidden(text: str) -> None:
    hidden = redaction.text(text)
    assert "canary" not in hidden
    assert redaction.text(hidden) == hidden


def test_names_decide_over_values() -> None:
    hidden = redaction.tree(
        {
            "token": "canary", "hf_token": "canary", "apiKey": "canary", "DB_PASSWORD": "canary", "password": 1234567890,
            "eos_token": "<|end|>", "pad_token": "pad", "max_tokens": 5, "api_key": None, "secret": True, "key": "text",
            "members": [{"with": {"secrets": ["canary", "canary"]}}], "note": "password=canary",
        }
    )  # fmt: skip
    assert "canary" not in json.dumps(hidden)
    assert hidden["password"] == HIDDEN
    assert hidden["members"] == [{"with": {"secrets": [HIDDEN, HIDDEN]}}]
    kept = {"eos_token": "<|end|>", "pad_token": "pad", "max_tokens": 5, "api_key": None, "secret": True, "key": "text"}
    assert {name: hidden[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("dvc exp run -S sft.with.password=canary -S sft.with.steps=4", f"-S 'sft.with.password={HIDDEN}' -S sft.with.steps=4"),
        ("tool --hub-token canary --max-tokens 5", f"tool --hub-token '{HIDDEN}' --max-tokens 5"),
        ("python -m workbench run sft --model data/models/base", "python -m workbench run sft --model data/models/base"),
    ],
)
def test_command_lines(line: str, hidden: str) -> None:
    assert redaction.of_environment().command(line).endswith(hidden)


@pytest.mark.parametrize(
    ("name", "value", "is_hidden"),
    [
        ("HF_TOKEN", "canary-7f3a", True),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG", True),
        ("MLFLOW_TRACKING_PASSWORD", "correct horse battery", True),
        ("MY_SECRET_2", "canary-7f3a", True),
        ("service_key", "canary-7f3a", True),
        ("DATABASE_URL", "mysql://me:canary-7f3a@host/db", True),
        ("TOKENIZERS_PARALLELISM", "no-canary-7f3a", False),
        ("MAX_TOKENS", "20070400", False),
        ("GIT_AUTHOR_NAME", "Ann Author 1", False),
        ("DB_PASSWORD", "pretrain", False),
        ("SSH_KEY", "/etc/passwd", False),
    ],
)
def test_values_of_secret_variables_are_hidden_wherever_they_occur(
    name: str, value: str, is_hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    secret = value.rpartition("@")[0].rpartition(":")[2] or value
    hidden = redaction.text(f"it answered {secret!r} again")
    assert (secret not in hidden) is is_hidden


def test_a_secret_of_the_configuration_is_known_in_messages() -> None:
    redactor = Redactor().knowing_those_of({"with": {"api_key": "canary-7f3a"}})
    assert "canary" not in redactor.text("refused canary-7f3a")


YAML = """# token: canary-7f3a
curate:
  corpus: {use: remote, with: {api_key: canary-7f3a, limit: 5}}  # it stays
  other:
    with:
      password: >-
        canary
        on two lines
      end_token: <|end|>
"""


def test_files_stay_readable() -> None:
    redactor = redaction.of_environment()
    hidden = redactor.file("params.yaml", YAML)
    assert "canary" not in hidden
    whole = yaml.safe_load(hidden)
    assert whole["curate"]["corpus"] == {"use": "remote", "with": {"api_key": HIDDEN, "limit": 5}}
    assert whole["curate"]["other"]["with"] == {"password": HIDDEN, "end_token": "<|end|>"}
    plain = YAML.partition("  other")[0]
    assert redactor.file("params.yaml", plain) == plain.replace("canary-7f3a", HIDDEN)
    content = json.dumps({"config": {"api_key": 'can"ary-7f3a', "n": 1}})
    assert json.loads(redactor.file("plugins-lock.json", content)) == {"config": {"api_key": HIDDEN, "n": 1}}
    assert redactor.file("code.py", "TOKEN = 'canary-7f3a'\nlogin(token=TOKEN)\n") == f"TOKEN = '{HIDDEN}'\nlogin(token=TOKEN)\n"


marks = ["=", ":", " ", '"', "'", "@", "\n", "a/b", "{", "(", "-"]
words = st.sampled_from(["token", "password", "api_key", "https://", "canary-7f3a", "Bearer ", HIDDEN, *marks])
texts = st.lists(words | st.text(max_size=4), max_size=14).map("".join)


@given(texts)
def test_hiding_twice_is_hiding_once(text: str) -> None:
    redactor = Redactor().knowing(["canary-7f3a"])
    for hide in (redactor.text, redactor.source, redactor.command):
        once = hide(text)
        assert hide(once) == once
        assert "canary-7f3a" not in once


@given(st.text(alphabet=st.characters(exclude_characters="=:@", exclude_categories=["Cs"])))
def test_text_without_marks_stays(text: str) -> None:
    assert Redactor().text(text) == text


names = st.sampled_from(["api_key", "steps", "pad_token"])
records = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(records)
def test_structured_files_keep_their_structure(record: object) -> None:
    redactor = Redactor().knowing(["canary-7f3a"])
    wanted = redactor.tree(record)
    assert redactor.tree(wanted) == wanted
    assert json.loads(redactor.file("a.json", json.dumps(record))) == wanted
    text = yaml.safe_dump(record, allow_unicode=True)
    assume(yaml.safe_load(text) == record)  # PyYAML writes U+0085 so that it reads it as a blank
    assert yaml.safe_load(redactor.file("a.yaml", text)) == wanted
