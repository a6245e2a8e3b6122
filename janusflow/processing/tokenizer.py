"""The tokenizer with the image tags in it: loaded, completed, written for the authors' code.

A tokenizer is always read from its tokenizer.json as it is. The class that tokenizer_config.json
names is not used: transformers 5 rebuilds a LlamaTokenizerFast from its vocabulary, with another
pre-tokenizer, and would read digits and Chinese differently.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AddedToken, PreTrainedTokenizerFast

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.processing.json_files import read_json, write_json
from janusflow.processing.templates import END_OF_SENTENCE

BEGIN_OF_SENTENCE = "<｜begin▁of▁sentence｜>"

PAD_TAG = "<｜▁pad▁｜>"
RELEASE_MAX_LENGTH = 16384


@dataclass(frozen=True, kw_only=True)
class ImageTags:
    """The special tokens around images, with the released model's spelling."""

    image: str = "<image_placeholder>"
    """Stands for one image in a text, and for one patch of it in token ids."""
    generation: str = "<｜begin▁of▁generation｜>"
    start: str = "<image_beg>"
    end: str = "<image_end>"

    @property
    def in_order(self) -> tuple[str, str, str, str]:
        """The order in which the release adds missing tags to its tokenizer."""
        return (self.image, self.generation, self.start, self.end)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder, without the image tags if the folder has none."""
    path = Path(folder) / "tokenizer.json"
    # Parsed here first: on a damaged file the tokenizers library raises a bare Exception.
    content = read_json(path)
    if "model" not in content:
        raise CheckpointError(f"{path} holds {', '.join(content)} but no 'model': get it again")
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path),
        clean_up_tokenization_spaces=False,
        **_named_tokens(Path(folder)),
    )


def completed(tokenizer: PreTrainedTokenizerFast, tags: ImageTags) -> PreTrainedTokenizerFast:
    """The tokenizer with begin, end and pad tokens named and every tag known.

    The given one is returned if it is complete already, and is never changed. Padding is, as in
    the release, its pad tag where the vocabulary has it, else what the tokenizer names, else the
    end of sentence.
    """
    bos = _existing(tokenizer, "bos_token", fallback=BEGIN_OF_SENTENCE)
    eos = _existing(tokenizer, "eos_token", fallback=END_OF_SENTENCE)
    pad = PAD_TAG if is_known(tokenizer, PAD_TAG) else tokenizer.pad_token or eos
    missing = [tag for tag in tags.in_order if not is_known(tokenizer, tag)]
    wanted = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
    if not missing and all(getattr(tokenizer, name) == value for name, value in wanted.items()):
        return tokenizer
    changed = copy.deepcopy(tokenizer)
    for name, value in wanted.items():
        setattr(changed, name, value)
    changed.add_tokens(
        [AddedToken(tag, special=True, normalized=False) for tag in missing], special_tokens=True
    )
    return changed


def is_known(tokenizer: PreTrainedTokenizerFast, token: str) -> bool:
    """Whether a token is in the vocabulary as one piece."""
    return tokenizer.backend_tokenizer.token_to_id(token) is not None


def id_of(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The id of a token that the vocabulary has."""
    token_id = tokenizer.backend_tokenizer.token_to_id(token)
    assert token_id is not None, f"{token} was never added"
    return token_id


def write_release_tokenizer(
    tokenizer: PreTrainedTokenizerFast, tags: ImageTags, folder: Path
) -> None:
    """The three tokenizer files of the release's layout, readable by the authors' code."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # The tokenizers version that the authors' code needs knows merges only as "a b".
    backend["model"]["merges"] = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in backend["model"]["merges"]
    ]
    write_json(backend, folder / "tokenizer.json")
    special: dict[str, Any] = {
        "additional_special_tokens": [_token_entry(tokenizer, tags.generation)],
        "bos_token": _token_entry(tokenizer, str(tokenizer.bos_token)),
        "eos_token": _token_entry(tokenizer, str(tokenizer.eos_token)),
    }
    has_pad = tokenizer.pad_token != tokenizer.eos_token
    if has_pad:
        special["pad_token"] = _token_entry(tokenizer, str(tokenizer.pad_token))
    write_json(special, folder / "special_tokens_map.json")
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": tokenizer.bos_token,
        "clean_up_tokenization_spaces": False,
        "eos_token": tokenizer.eos_token,
        "model_max_length": RELEASE_MAX_LENGTH,
        "pad_token": tokenizer.pad_token if has_pad else None,
        "tokenizer_class": "LlamaTokenizerFast",
        "unk_token": None,
    }
    write_json(config, folder / "tokenizer_config.json")


def _named_tokens(folder: Path) -> dict[str, str]:
    """Begin, end and pad tokens that the folder's files name; a later file overrules."""
    named: dict[str, str] = {}
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        entries = read_json(folder / file) if (folder / file).is_file() else {}
        for name in ("bos_token", "eos_token", "pad_token"):
            entry = entries.get(name)
            content = entry.get("content") if isinstance(entry, dict) else entry
            if content is not None:
                named[name] = content
    return named


def _existing(tokenizer: PreTrainedTokenizerFast, name: str, *, fallback: str) -> str:
    token = getattr(tokenizer, name)
    chosen = token or fallback
    if not is_known(tokenizer, chosen):
        raise ConfigError(
            f"the tokenizer's {name} is {token!r} and it does not know {chosen!r}: set {name} to a "
            "token of its vocabulary"
        )
    return chosen


def _token_entry(tokenizer: PreTrainedTokenizerFast, content: str) -> dict[str, Any]:
    token = tokenizer.added_tokens_decoder[id_of(tokenizer, content)]
    return {
        "content": content,
        "lstrip": token.lstrip,
        "normalized": token.normalized,
        "rstrip": token.rstrip,
        "single_word": token.single_word,
    }
