"""The tokenizer with the image tags in it: loaded, completed, written for the authors' code.

A tokenizer is always read from its tokenizer.json as it is. The class that tokenizer_config.json
names is not used: transformers 5 rebuilds a LlamaTokenizerFast from its vocabulary, with another
pre-tokenizer, and would read digits and Chinese differently.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors
from transformers import AddedToken, PreTrainedTokenizerFast
from transformers.utils.hub import cached_file

from janusflow.config.errors import CheckpointError, ConfigError, PromptError
from janusflow.processing.json_files import read_json, write_json
from janusflow.processing.templates import END_OF_SENTENCE

BEGIN_OF_SENTENCE = "<｜begin▁of▁sentence｜>"
PAD_TAG = "<｜▁pad▁｜>"
RELEASE_MAX_LENGTH = 16384
TOKENIZER_FILE, TEMPLATE_FILE = "tokenizer.json", "chat_template.jinja"
HUB_OPTIONS = (
    *("cache_dir", "force_download", "local_files_only", "proxies", "revision"),
    *("subfolder", "token", "user_agent"),
)
"""What transformers' `cached_file` knows about where files are."""

IMAGE_TAGS = {
    "image_tag": "<image_placeholder>",
    "image_gen_tag": "<｜begin▁of▁generation｜>",
    "image_start_tag": "<image_beg>",
    "image_end_tag": "<image_end>",
}
"""The special tokens around images as processor_config.json names them, in the order in which the
release adds missing ones to its tokenizer. `image_tag` stands for one image in a text, and for one
patch of it in token ids."""


def load_tokenizer(name_or_folder: str | Path, **options: Any) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder or hub id, without the image tags if it has none.

    Args:
        name_or_folder: a folder, or a hub id.
        **options: `subfolder`, `revision`, `token`, ... as from_pretrained knows them.
    """
    where = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
    path = Path(name_or_folder, where.get("subfolder") or "", TOKENIZER_FILE)
    if not Path(name_or_folder).is_dir():
        path = Path(cached_file(str(name_or_folder), TOKENIZER_FILE, **where) or path)
    # Parsed here first: on a damaged file the tokenizers library raises a bare Exception.
    content = read_json(path)
    if "model" not in content:
        raise CheckpointError(f"{path} holds {', '.join(content)} but no 'model': get it again")
    said: dict[str, Any] = {}
    for file in ("tokenizer_config.json", "special_tokens_map.json"):  # a later file overrules
        found = cached_file(
            str(name_or_folder), file, _raise_exceptions_for_missing_entries=False, **where
        )
        entries = {} if found is None else read_json(Path(found))
        for name in ("bos_token", "eos_token", "pad_token", "model_max_length"):
            entry = entries.get(name)
            if entry is not None:
                said[name] = entry["content"] if isinstance(entry, dict) else entry
    template = cached_file(
        str(name_or_folder), TEMPLATE_FILE, _raise_exceptions_for_missing_entries=False, **where
    )
    if template is not None:
        said["chat_template"] = Path(template).read_text(encoding="utf-8")
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path),
        **{"padding_side": "left", "clean_up_tokenization_spaces": False, **said, **options},
    )


class JanusFlowTokenizer:
    """What AutoTokenizer finds; transformers 5.24 itself fails at the release's special tokens."""

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, **options: Any) -> PreTrainedTokenizerFast:
        """The tokenizer that `load_tokenizer` reads, of transformers' own class."""
        internal = ("_from_auto", "_commit_hash")
        options = {name: value for name, value in options.items() if name not in internal}
        return load_tokenizer(name_or_folder, **options)


def completed(
    tokenizer: PreTrainedTokenizerFast, tags: Mapping[str, str], *, chat_template: Any = None
) -> PreTrainedTokenizerFast:
    """The tokenizer with begin, end and pad tokens named and every tag known.

    It begins every text with the begin token and pads on the left, so that all answers continue
    from the last column. The given one is returned if it is so already, and is never changed.
    Padding is, as in the release, its pad tag where the vocabulary has it, else what the tokenizer
    names, else the end of sentence.
    """
    bos = _existing(tokenizer, "bos_token", fallback=BEGIN_OF_SENTENCE)
    eos = _existing(tokenizer, "eos_token", fallback=END_OF_SENTENCE)
    pad = PAD_TAG if is_known(tokenizer, PAD_TAG) else tokenizer.pad_token or eos
    missing = [tags[key] for key in IMAGE_TAGS if not is_known(tokenizer, tags[key])]
    wanted = {
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "padding_side": "left",
        "chat_template": chat_template,
    }
    begins_texts = tokenizer("").input_ids == [id_of(tokenizer, bos)]
    is_complete = all(getattr(tokenizer, name) == value for name, value in wanted.items())
    if is_complete and begins_texts and not missing:
        return tokenizer
    changed = copy.deepcopy(tokenizer)
    for name, value in wanted.items():
        setattr(changed, name, value)
    if not begins_texts:
        changed.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, id_of(tokenizer, bos))]
        )
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


def check_unicode(text: str) -> None:
    """Refuse half of a surrogate pair, of which no tokenizer can make bytes."""
    try:
        text.encode()
    except UnicodeError:
        raise PromptError(
            f"got {text!a:.80}, no Unicode text (half a surrogate pair): encode it anew"
        ) from None


def encode_text(tokenizer: Tokenizer, text: str, *, allowed: Sequence[str] = ()) -> list[int]:
    """Token ids of a text that a person wrote, without begin token.

    Raises:
        PromptError: it spells a special token other than those allowed, which would be taken for
            the model's own mark, or it is not valid Unicode.
    """
    if tokenizer.truncation is not None:  # left behind by a call of transformers that asked for it
        tokenizer.no_truncation()
    check_unicode(text)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    # A tokenizer keeps the padding that transformers last asked it for.
    token_ids = [*compress(encoding.ids, encoding.attention_mask)]
    special = tokenizer.get_added_tokens_decoder()
    for token_id in dict.fromkeys(token_ids):
        token = special.get(token_id)
        if token is not None and token.special and token.content not in allowed:
            raise PromptError(
                f"{text!r:.80} holds a tag that belongs to the model: {token.content} in its text. "
                "Write it another way"
            )
    return token_ids


def write_release_tokenizer(
    tokenizer: PreTrainedTokenizerFast, folder: Path, *, generation_tag: str
) -> None:
    """The three tokenizer files of the release's layout, readable by the authors' code."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # The tokenizers version that the authors' code needs knows merges only as "a b".
    backend["model"]["merges"] = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in backend["model"]["merges"]
    ]
    write_json(backend, folder / "tokenizer.json")
    special: dict[str, Any] = {
        "additional_special_tokens": [_token_entry(tokenizer, generation_tag)],
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
