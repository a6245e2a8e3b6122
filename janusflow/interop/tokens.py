"""Token ids the model needs from a tokenizer: where texts begin and end, and where pictures sit.

The release's tokenizer holds none of its picture tags: its processor adds those that are missing,
in a fixed order, each time it is loaded. The same is done here, on a copy.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from janusflow.config.errors import CheckpointError

TAGS = {
    "image_tag": "<image_placeholder>",
    "image_gen_tag": "<｜begin▁of▁generation｜>",
    "image_start_tag": "<begin_of_image>",
    "image_end_tag": "<end_of_image>",
}
"""The release processor's tags, with its defaults, in the order in which it adds them."""
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"


@dataclass(frozen=True, kw_only=True)
class TokenIds:
    """Defaults are the release's ids, of which those of the picture tags are assumed (see docs)."""

    bos: int = 100000
    eos: int = 100001
    pad: int = 100001
    image: int = 100015
    image_start: int = 100017
    image_end: int = 100018


def read_token_ids(folder: Path) -> TokenIds:
    """The ids of a folder's tokenizer, with the tags its processor_config.json names.

    Raises:
        CheckpointError: there is no tokenizer.json, or it lacks a begin or end of sentence.
    """
    tokenizer = _tokenizer(folder)
    settings = _json(folder / "processor_config.json")
    tags = {name: settings.get(name) or default for name, default in TAGS.items()}
    tokenizer.add_special_tokens(
        [tag for tag in tags.values() if tokenizer.token_to_id(tag) is None]
    )
    bos, eos = _named(folder, "bos_token", BOS), _named(folder, "eos_token", EOS)
    ids = {name: tokenizer.token_to_id(name) for name in (bos, eos, PAD, *tags.values())}
    for name in (bos, eos):
        if ids[name] is None:
            raise CheckpointError(
                f"{folder}: tokenizer.json has no token {name!r}: use the tokenizer that belongs "
                "to these weights."
            )
    return TokenIds(
        bos=ids[bos],
        eos=ids[eos],
        # As the release: a vocabulary without the pad token pads with EOS, under the mask.
        pad=ids[eos] if ids[PAD] is None else ids[PAD],
        image=ids[tags["image_tag"]],
        image_start=ids[tags["image_start_tag"]],
        image_end=ids[tags["image_end_tag"]],
    )


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: no tokenizer.json: copy it from the model's download, beside config.json."
        )
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    # tokenizers raises a bare Exception for a damaged file.
    except Exception as error:
        raise CheckpointError(f"{path}: cannot be read ({error}): download it again.") from error


def _named(folder: Path, name: str, default: str) -> str:
    """A special token as the tokenizer's settings spell it."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        value = _json(folder / file).get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if text:
            return text
    return default


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not JSON ({error}): download it again.") from error
