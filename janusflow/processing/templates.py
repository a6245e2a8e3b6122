"""The chat format: how a conversation becomes the one string that the LLM reads.

`build_chat_template` gives it as a Jinja template, which model folders hold in chat_template.jinja.
Its text is exactly the release's: separators follow a message's place (even, odd), not its role; an
empty message leaves "Assistant:" open for the answer; messages and the whole text are stripped.
The begin token is not in it: the tokenizer puts that before every text.
"""

import json
from typing import TypeAlias

from janusflow.config.errors import ConfigError

Message: TypeAlias = dict[str, str]
"""One turn of a conversation in the release's shape: its `role` and its `content`."""

END_OF_SENTENCE = "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "User", "Assistant"

UNDERSTANDING_SYSTEM_PROMPT = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
)
"""The release's default for questions; prompts for drawing have none."""

PLANNING_QUESTION = "Plan: {prompt}"
"""What a model that plans (`JanusFlowConfig.plans`) is asked before it draws a prompt."""

RELEASE_FORMAT = "deepseek_old"
"""`sft_format` of the released JanusFlow."""
SFT_FORMATS = ("deepseek", RELEASE_FORMAT, "plain")
"""The first two give the same text; "plain" strings messages together, without roles."""

_CONTENT = """\
{%- macro text_of(content) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- else -%}
    {%- for part in content or [] -%}
      {{- "" if loop.first else "\\n" -}}
      {{- IMAGE_TAG if part.type in ("image", "image_url") else part.text -}}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- set turns = messages | rejectattr("role", "in", ("system", "developer")) | list -%}
"""
_PLAIN = """\
{%- for message in turns -%}
  {{- text_of(message.content).strip() -}}
{%- endfor -%}
"""
_WITH_ROLES = """\
{%- set system = namespace(text=system_prompt if system_prompt is defined else SYSTEM_PROMPT) -%}
{%- for message in messages if message.role in ("system", "developer") -%}
  {%- set before = "" if loop.first else system.text ~ "\\n" -%}
  {%- set system.text = before ~ text_of(message.content) -%}
{%- endfor -%}
{%- if system.text.strip() -%}
  {{- system.text.lstrip() ~ "\\n\\n" if turns else system.text.strip() -}}
{%- endif -%}
{%- set answer = namespace(is_open=false) -%}
{%- for message in turns -%}
  {%- set text = text_of(message.content).strip() -%}
  {%- set answer.is_open = not text and loop.index0 is odd -%}
  {{- {"user": "User", "assistant": "Assistant"}.get(message.role, message.role) ~ ":" -}}
  {%- if text and loop.index0 is odd -%}
    {%- generation -%}{{- " " ~ text ~ eos_token -}}{%- endgeneration -%}
  {%- elif text -%}
    {{- " " ~ text -}}
    {{- "\\n\\n" if add_generation_prompt or not loop.last else "" -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not answer.is_open -%}
  {{- "Assistant:" -}}
{%- endif -%}
"""


def build_chat_template(*, sft_format: str, system_prompt: str, image_tag: str) -> str:
    """The Jinja template of a format, for transformers' `apply_chat_template`.

    Content may be a text or a list of parts, which line breaks join. System messages, wherever
    they stand, take the place of `system_prompt`, which `apply_chat_template` can also be given.
    """
    if sft_format not in SFT_FORMATS:
        raise ConfigError(f"got sft_format {sft_format!r}: use one of {', '.join(SFT_FORMATS)}")
    source = _CONTENT + (_PLAIN if sft_format == "plain" else _WITH_ROLES)
    for name, text in (("IMAGE_TAG", image_tag), ("SYSTEM_PROMPT", system_prompt)):
        source = source.replace(name, json.dumps(text, ensure_ascii=False))
    return source.rstrip("\n")


def question_text(question: str) -> str:
    """One question in the release's format, up to where the answer starts; no system prompt."""
    stripped = question.strip()
    asked = f"{USER}: {stripped}\n\n" if stripped else f"{USER}:"
    return f"{asked}{ASSISTANT}:"


def planning_question(prompt: str) -> str:
    """The question whose answer is a prompt that says where everything is, for drawing."""
    return PLANNING_QUESTION.format(prompt=prompt)
