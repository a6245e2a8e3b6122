"""How a processor is loaded and saved, in the release's layout and in ours.

Both layouts hold the settings in processor_config.json under the same keys. Ours adds the system
prompt and the image processor, which the release keeps in preprocessor_config.json.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast, ProcessorMixin

from janusflow.config.errors import CheckpointError
from janusflow.config.keywords import refuse_unknown
from janusflow.processing.images import JanusFlowImageProcessor
from janusflow.processing.json_files import read_json, write_json
from janusflow.processing.tokenizer import (
    HUB_OPTIONS,
    IMAGE_TAGS,
    load_tokenizer,
    write_release_tokenizer,
)

PROCESSOR_FILE = "processor_config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"

RELEASE_CLASS_DEFAULTS = {
    **IMAGE_TAGS,
    "image_start_tag": "<begin_of_image>",
    "image_end_tag": "<end_of_image>",
    "sft_format": "deepseek",
}
"""What the release's class falls back to where processor_config.json says nothing; the release's
own file says otherwise."""

RELEASE_PROCESSOR, RELEASE_IMAGE_PROCESSOR = "VLChatProcessor", "VLMImageProcessor"
RELEASE_PROCESSOR_KEYS = (
    *("add_special_token", "ignore_id", "image_end_tag", "image_tag", "mask_prompt"),
    *("num_image_tokens", "processor_class", "sft_format", "image_gen_tag", "image_start_tag"),
)
RELEASE_PREPROCESSOR_KEYS = (
    *("background_color", "do_normalize", "image_mean", "image_std", "image_size", "min_size"),
    "rescale_factor",
)

LOADING_KEYWORDS = (
    *("trust_remote_code", "code_revision", "use_fast", "use_auth_token", "repo_type", "config"),
    *("_from_auto", "_commit_hash", "return_unused_kwargs"),
)
"""What transformers' Auto classes hand on beside settings and where files are."""
TOKENIZER_SETTINGS = (
    *PreTrainedTokenizerFast.SPECIAL_TOKENS_ATTRIBUTES,
    *("model_max_length", "padding_side", "truncation_side", "clean_up_tokenization_spaces"),
    *("split_special_tokens", "extra_special_tokens", "additional_special_tokens"),
)


def read_processor_config(folder: Path) -> dict[str, Any]:
    """The settings of a folder of either layout; keys left out have the release class's values."""
    return {**RELEASE_CLASS_DEFAULTS, **read_json(folder / PROCESSOR_FILE)}


class ProcessorFiles(ProcessorMixin):
    """A processor that reads both layouts and writes both."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Read a folder in the release's layout or in ours, or a hub id.

        Args:
            pretrained_model_name_or_path: a folder or a hub id.
            **kwargs: transformers' (`subfolder`, `revision`, `token`, `cache_dir`, ...), and
                settings that are to differ from the files': the processor's own, its image
                processor's, its tokenizer's.

        Raises:
            ConfigError: a keyword is none of these.
            CheckpointError: there is no such folder or hub id, or its files are damaged.
        """
        if "_from_pipeline" not in kwargs:  # that hands every part the model's settings, too
            known = {*LOADING_KEYWORDS, *HUB_OPTIONS, *TOKENIZER_SETTINGS, "image_size"}
            known |= set(inspect.signature(cls.__init__).parameters)
            known |= set(JanusFlowImageProcessor.valid_kwargs.__annotations__)
            refuse_unknown(f"{cls.__name__}.from_pretrained", kwargs, known=known)
        folder = Path(pretrained_model_name_or_path).expanduser()
        if folder.is_dir():
            inside = folder / (kwargs.get("subfolder") or "")
            if "image_processor" not in read_json(inside / PROCESSOR_FILE):
                read_json(inside / PREPROCESSOR_FILE)
            return super().from_pretrained(str(folder), **kwargs)
        name = str(pretrained_model_name_or_path)
        if name.count("/") != 1 or name.startswith((".", "/", "~")):
            # Not asked for: the hub would be tried again and again first.
            raise CheckpointError(f"{name!r} is neither a folder nor a hub id (owner/name)")
        try:
            return super().from_pretrained(name, **kwargs)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{name!r} is neither a folder nor a hub model within reach "
                f"({' '.join(str(error).split()):.200}): check the name"
            ) from None

    @classmethod
    def _get_arguments_from_pretrained(
        cls,
        pretrained_model_name_or_path: str,
        processor_dict: Mapping[str, Any] | None = None,  # noqa: ARG003 (transformers calls it so)
        **kwargs: Any,
    ) -> list[Any]:
        parts = {name: kwargs.pop(name, None) for name in cls.get_attributes()}
        return [
            parts["image_processor"]
            or JanusFlowImageProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs),
            parts["tokenizer"] or load_tokenizer(pretrained_model_name_or_path, **kwargs),
        ]

    @classmethod
    def from_args_and_dict(
        cls, args: Sequence[Any], processor_dict: Mapping[str, Any], **kwargs: Any
    ) -> Any:
        """A processor of its parts and of what processor_config.json says.

        Not inherited: transformers looks for the constructor's arguments in its byte code, and
        where the release's file leaves out a key, its class's default holds.
        """
        kwargs.pop("return_unused_kwargs", None)
        said = {**RELEASE_CLASS_DEFAULTS, **processor_dict, **kwargs}
        if "chat_template" not in kwargs and {"system_prompt", "sft_format"} & set(kwargs):
            said.pop("chat_template", None)  # made anew of what was given
        settings = set(inspect.signature(cls.__init__).parameters) - set(cls.get_attributes())
        return cls(*args, **{key: said[key] for key in said if key in settings})

    def save_pretrained(
        self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write our layout: the tokenizer's files, processor_config.json, chat_template.jinja."""
        return super().save_pretrained(str(save_directory), push_to_hub, **kwargs)

    def save_release_layout(self, folder: str | Path) -> None:
        """Write the same processor as the authors' code reads it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        said = {**self.to_dict(), "processor_class": RELEASE_PROCESSOR}
        generation_tag = said["image_gen_tag"]
        ordered = {key: said[key] for key in RELEASE_PROCESSOR_KEYS}
        (folder / PROCESSOR_FILE).write_text(json.dumps(ordered, indent=4), encoding="utf-8")
        said = {key: getattr(self.image_processor, key) for key in RELEASE_PREPROCESSOR_KEYS}
        said["image_processor_type"] = RELEASE_IMAGE_PROCESSOR
        said["processor_class"] = RELEASE_PROCESSOR
        write_json(said, folder / PREPROCESSOR_FILE, sort_keys=True)
        write_release_tokenizer(self.tokenizer, folder, generation_tag=generation_tag)
