"""The tokens that frame a conversation, the chat template built from them, and the files that declare both to transformers.

Every tokenizer plugin needs the same: a token before each turn that names its role, one after it, and a template whose
generation prompt is a prefix of the whole conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field, model_validator

from workbench.plugin import Config

UNLIMITED = 10**30
"""What transformers writes for a tokenizer that sets no maximum length; the model's config does."""


class ChatTokens(Config):
    """Base of a tokenizer's configuration: the special tokens."""

    system_token: str = Field("<|system|>", min_length=1)
    """Begins a system turn."""
    user_token: str = Field("<|user|>", min_length=1)
    """Begins a user turn."""
    assistant_token: str = Field("<|assistant|>", min_length=1)
    """Begins an assistant turn."""
    end_token: str = Field("<|end|>", min_length=1)
    """Ends a turn and a document: the end-of-sequence token."""
    pad_token: str = Field("<|pad|>", min_length=1)
    """Pads batches; never part of a text."""

    @property
    def special_tokens(self) -> list[str]:
        """In the order of their ids, which start at 0."""
        return [self.end_token, self.pad_token, self.system_token, self.user_token, self.assistant_token]

    @model_validator(mode="after")
    def _require_different_tokens(self) -> ChatTokens:
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError("two special tokens are the same; give each a different text")
        return self


class SpecialTokenWatch:
    """Counts the texts that contain a special token literally, which is read as text."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        self.texts = 0
        self._special_tokens = special_tokens

    def pass_through(self, texts: Iterator[str]) -> Iterator[str]:
        """Yield the texts unchanged."""
        for text in texts:
            self.texts += any(token in text for token in self._special_tokens)
            yield text


def chat_template(tokens: ChatTokens) -> str:
    """A one-line Jinja template; ``generation`` marks the assistant's turns, including their end token.

    The prompt with ``add_generation_prompt`` is a prefix of the whole conversation, so that a loss on the answer is exact. A
    system turn without text is no turn. Tools, their calls and answers, and thoughts are text in tags, as in Hermes and Qwen.
    """
    end = _quoted(tokens.end_token)
    system, user, assistant = (_quoted(token) for token in (tokens.system_token, tokens.user_token, tokens.assistant_token))
    return (
        "{% if tools %}"
        f"{{{{ {system} }}}}"
        "{% if messages[0]['role'] == 'system' and messages[0]['content'] | trim %}"
        "{{ messages[0]['content'] + '\\n\\n' }}{% endif %}"
        "{{ 'Functions that you may call, each call as JSON in <tool_call></tool_call>:\\n<tools>' }}"
        "{% for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}"
        f"{{{{ '\\n</tools>' + {end} }}}}"
        "{% endif %}"
        "{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}"
        f"{{{{ {assistant} }}}}"
        "{% generation %}"
        "{% if message['reasoning_content'] %}{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}{% endif %}"
        "{{ message['content'] or '' }}"
        "{% for call in message['tool_calls'] or [] %}{% set asked = call['function'] or call %}"
        "{{ ('\\n' if message['content'] or not loop.first else '') + '<tool_call>\\n{\"name\": ' }}{{ asked['name'] | tojson }}"
        "{{ ', \"arguments\": ' }}"
        "{{ asked['arguments'] if asked['arguments'] is string else asked['arguments'] | tojson }}{{ '}\\n</tool_call>' }}"
        "{% endfor %}"
        f"{{{{ {end} }}}}{{% endgeneration %}}"
        "{% elif message['role'] == 'user' %}"
        f"{{{{ {user} + message['content'] + {end} }}}}"
        "{% elif message['role'] == 'tool' %}"
        f"{{{{ {user} + '<tool_response>\\n' + (message['content'] or '') + '\\n</tool_response>' + {end} }}}}"
        "{% elif message['role'] == 'system' %}"
        "{% if message['content'] | trim and not (tools and loop.first) %}"
        f"{{{{ {system} + message['content'] + {end} }}}}{{% endif %}}"
        "{% else %}{{ raise_exception('the roles are system, user, assistant and tool') }}"
        "{% endif %}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ {assistant} }}}}{{% endif %}}"
    )


def write_tokenizer_config(directory: Path, tokens: ChatTokens) -> None:
    """Write ``tokenizer_config.json``; with ``tokenizer.json`` it makes a directory that ``AutoTokenizer`` loads."""
    content = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokens.end_token,
        "pad_token": tokens.pad_token,
        "extra_special_tokens": [tokens.system_token, tokens.user_token, tokens.assistant_token],
        "model_max_length": UNLIMITED,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template(tokens),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _quoted(token: str) -> str:
    return json.dumps(token, ensure_ascii=False)
