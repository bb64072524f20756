"""Turns of a conversation, as people write them: OpenAI's messages, ShareGPT's, content parts, tool calls, transcripts.

Sources: https://platform.openai.com/docs/api-reference/chat, https://github.com/lm-sys/FastChat (ShareGPT), and the transcripts
of Bai et al. 2022, https://github.com/anthropics/hh-rlhf.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from workbench.artifacts.examples import Message, ToolCall
from workbench.kinds.values import MISSING, UnusableRowError, checked_text, is_missing, text_of

Turns = tuple[Message, ...]
_CALLED = {
    "system": ("system", "developer"),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "chatgpt", "bard", "bing", "model", "function_call"),
    "tool": ("tool", "function", "observation", "function_response"),
}
ROLES = {name: role for role, names in _CALLED.items() for name in names}
"""What a turn's role is called → the role that it has here."""
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_UNREAD = frozenset({"image", "images", "audio", "video", "file", "files", "refusal"})
"""Fields of a turn that change what it says, and that no format here holds."""
_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def turns(value: Any, name: str, max_bytes: int, *, text_is: str | None = None) -> Turns:
    """The turns of a value: a list of turns, one turn, an object with ``messages``, or a list as JSON text.

    A system turn that says nothing is none.
    Given a role as ``text_is``, other text becomes one turn of it; a list is JSON of turns only if each item has a role.

    Raises:
        UnusableRowError: the value is missing, or no list of turns, or a turn says what cannot be kept.
    """
    if isinstance(value, str):
        found = _from_json(value, name, must=text_is is None)
        if found is None:
            if is_missing(value):
                raise UnusableRowError(MISSING, f"no {name!r}")
            return (Message(role=text_is or "user", content=checked_text(value, max_bytes)),)
        value = found
    if isinstance(value, dict) and "messages" in value:  # OpenAI's preferences
        if not is_missing(value.get("tools")):
            raise UnusableRowError("unread-field", f"{name!r} has 'tools', which only conversations can keep")
        value = value["messages"]
    if is_missing(value):
        raise UnusableRowError(MISSING, f"no {name!r}")
    items = [value] if isinstance(value, dict) else value
    if not _are_turns(items):
        roles = ", ".join(sorted(ROLES))
        raise UnusableRowError("not-messages", f"{name!r} is no list of messages, each with one of the roles {roles}")
    read = (_turn(item, name, max_bytes) for item in items)
    made = tuple(turn for turn in read if turn is not None)
    if not made:
        raise UnusableRowError(MISSING, f"no {name!r}")
    return made


def transcript(text: str) -> Turns | None:
    """The turns of a text of ``Human:`` and ``Assistant:`` paragraphs; None for any other text. The last one may be empty."""
    pieces = _SPEAKER.split(text)
    if len(pieces) < 3 or pieces[0].strip() or pieces[1] != "Human":
        return None
    said = zip(pieces[1::2], pieces[2::2], strict=True)
    return tuple(Message(role=_SPEAKERS[speaker], content=content.strip()) for speaker, content in said)


def empty_system_turns(value: Any) -> int:
    """How many system turns of a list, or of its JSON text, say nothing."""
    items = _from_json(value, "", must=False) if isinstance(value, str) else value
    items = items if isinstance(items, list) else []
    return sum(1 for item in items if isinstance(item, dict) and _role(item) == "system" and is_missing(_said(item)))


def _from_json(text: str, name: str, *, must: bool) -> Any:
    """The turns that a text holds as JSON, None if it is other text."""
    if not text.lstrip().startswith(("[", "{")):
        return None if not must else _refuse_text(name)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if must:
            raise UnusableRowError("malformed-json", f"{name!r}: {error}") from error
        return None
    if _are_turns(value if isinstance(value, list) else None):
        return value
    return None if not must else _refuse_text(name)


def _refuse_text(name: str) -> None:
    raise UnusableRowError("not-messages", f"{name!r} is not a list of messages")


def _are_turns(items: Any) -> bool:
    return isinstance(items, list) and bool(items) and all(isinstance(item, dict) and _role(item) for item in items)


def _role(item: Mapping[str, Any]) -> str | None:
    said = item.get("role", item.get("from"))
    return ROLES.get(said) if isinstance(said, str) else None


def _said(item: Mapping[str, Any]) -> Any:
    return item.get("content", item.get("value"))


def _turn(item: Mapping[str, Any], name: str, max_bytes: int) -> Message | None:
    """A turn, None for a system turn that says nothing."""
    role = _role(item) or ""
    for field, value in item.items():
        if field in _UNREAD and not is_missing(value):
            raise UnusableRowError("unread-field", f"{name!r}: a message has {field!r}, which can't be kept")
    calls = _calls(item, name, max_bytes)
    content = "" if item.get("from") == "function_call" else _content(item, name)
    if not content.strip():
        if role == "system":
            return None
        if role != "tool" and not calls:
            raise UnusableRowError(MISSING, f"{name!r}: a message of the {role} has no content")
        content = ""
    message = Message(role=role, content=checked_text(content, max_bytes) if content else "")
    if calls:
        message["tool_calls"] = calls
    _add_optional(message, item, name, max_bytes)
    return message


def _content(item: Mapping[str, Any], name: str) -> str:
    value = _said(item)
    if is_missing(value):
        return ""
    if isinstance(value, list):
        return "\n".join(_part(part, name) for part in value)
    if not isinstance(value, str):
        raise UnusableRowError("not-text", f"{name!r}: a message's content is {type(value).__name__}")
    return value


def _part(part: object, name: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    if not isinstance(part, dict) or kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
        raise UnusableRowError("not-text-part", f"{name!r}: a message has a part of type {kind!r}; only text can be kept")
    text: str = part["text"]
    return text


def _add_optional(message: Message, item: Mapping[str, Any], name: str, max_bytes: int) -> None:
    """Weight, reasoning, and what ties a tool's answer to its call."""
    weight = item.get("weight")
    if is_missing(weight) and isinstance(item.get("train"), bool):  # Axolotl's name for it
        weight = int(item["train"])
    if not is_missing(weight):
        if weight not in ((0, 1) if message["role"] == "assistant" else (0,)):
            what = f"a message of the {message['role']} has weight {weight!r}; the assistant's may have 0 or 1, others 0"
            raise UnusableRowError("bad-weight", f"{name!r}: {what}")
        message["weight"] = float(weight or 0)
    reasons = [item[field] for field in _REASONING if not is_missing(item.get(field))]
    if reasons:
        if message["role"] != "assistant" or not isinstance(reasons[0], str):
            raise UnusableRowError("unread-field", f"{name!r}: reasoning is no text of the assistant's")
        message["reasoning_content"] = checked_text(reasons[0], max_bytes)
    if message["role"] == "tool":
        if not is_missing(item.get("name")):
            message["name"] = text_of(item, "name", max_bytes)
        if not is_missing(item.get("tool_call_id")):
            message["tool_call_id"] = text_of(item, "tool_call_id", max_bytes)


def _calls(item: Mapping[str, Any], name: str, max_bytes: int) -> list[ToolCall]:
    """Tool calls in OpenAI's form, its former one, or ShareGPT's, where the content of the turn is the call."""
    calls = item.get("tool_calls")
    if is_missing(calls):
        calls = [] if is_missing(item.get("function_call")) else [item["function_call"]]
        if item.get("from") == "function_call":
            calls = [_said(item)]
    if not isinstance(calls, list):
        raise UnusableRowError("bad-tool-call", f"{name!r}: tool_calls is {type(calls).__name__}")
    if calls and _role(item) != "assistant":
        raise UnusableRowError("bad-tool-call", f"{name!r}: a message of the {_role(item)} calls a tool")
    return [_call(call, name, max_bytes) for call in calls]


def _call(call: Any, name: str, max_bytes: int) -> ToolCall:
    if isinstance(call, str):
        try:
            call = json.loads(call)
        except (ValueError, RecursionError) as error:
            raise UnusableRowError("bad-tool-call", f"{name!r}: {error}") from error
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or is_missing(function.get("name")):
        raise UnusableRowError("bad-tool-call", f"{name!r}: a tool call names no function")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    called = text_of(function, "name", max_bytes)
    made = ToolCall(type="function", function={"name": called, "arguments": checked_text(arguments or "{}", max_bytes)})
    if not is_missing(call.get("id")):
        made["id"] = text_of(call, "id", max_bytes)
    return made
