"""The release's chat format, written again from its description: what ours is compared with."""

from collections.abc import Mapping, Sequence


def format_conversation(
    messages: Sequence[Mapping[str, str]],
    *,
    system_prompt: str,
    sft_format: str = "deepseek_old",
    end_of_answer: str = "<｜end▁of▁sentence｜>",
) -> str:
    """Text without begin token. Separators follow a message's place, not its role."""
    texts = [message["content"].strip() for message in messages]
    if sft_format == "plain":
        return "".join(texts).strip()
    parts = [f"{system_prompt}\n\n"] if system_prompt else []
    for index, (message, text) in enumerate(zip(messages, texts, strict=True)):
        separator = end_of_answer if index % 2 else "\n\n"
        parts.append(f"{message['role']}: {text}{separator}" if text else f"{message['role']}:")
    return "".join(parts).strip()
