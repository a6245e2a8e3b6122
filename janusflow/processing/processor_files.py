"""The processor's two JSON files, in the release's layout and in ours.

Both layouts hold the same keys; ours adds the system prompt and names our classes. Keys that we do
not use are kept, in their order, so that a file of the release comes back byte for byte.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.processing.json_files import read_json
from janusflow.processing.templates import (
    RELEASE_TEMPLATE,
    UNDERSTANDING_SYSTEM_PROMPT,
    find_template,
)
from janusflow.processing.tokenizer import ImageTags

PROCESSOR_FILE = "processor_config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

RELEASE_PROCESSOR, RELEASE_IMAGE_PROCESSOR = "VLChatProcessor", "VLMImageProcessor"
RELEASE_NUM_IMAGE_TOKENS = 576
RELEASE_UNUSED = {"add_special_token": False, "ignore_id": -100, "mask_prompt": True}
"""Written by the release and read by nobody."""

RELEASE_CLASS_TAGS = ImageTags(start="<begin_of_image>", end="<end_of_image>")
"""What the release's class falls back to; its own file says otherwise."""


@dataclass(frozen=True, kw_only=True)
class ProcessorSettings:
    """What processor_config.json says."""

    tags: ImageTags = field(default_factory=ImageTags)
    num_image_tokens: int = RELEASE_NUM_IMAGE_TOKENS
    """Patches the understanding tower makes of an image."""
    template: str = RELEASE_TEMPLATE
    system_prompt: str = UNDERSTANDING_SYSTEM_PROMPT
    """Default for conversations; drawing has none."""
    as_read: Mapping[str, Any] = field(default_factory=dict)
    """All keys of the file that was read, in order."""

    def __post_init__(self) -> None:
        find_template(self.template)
        if not isinstance(self.num_image_tokens, int) or self.num_image_tokens < 1:
            raise ConfigError(
                f"got num_image_tokens={self.num_image_tokens!r}: give the number of patches the "
                "understanding tower makes of an image"
            )

    def to_dict(self) -> dict[str, Any]:
        """The keys of the file, as far as both layouts share them; known ones in place."""
        tags = self.tags
        return {
            **(self.as_read or RELEASE_UNUSED),
            "image_end_tag": tags.end,
            "image_tag": tags.image,
            "num_image_tokens": self.num_image_tokens,
            "sft_format": self.template,
            "image_gen_tag": tags.generation,
            "image_start_tag": tags.start,
        }


def read_settings(folder: Path) -> ProcessorSettings:
    """The settings of a folder of either layout; keys left out have the release's defaults."""
    said = read_json(folder / PROCESSOR_FILE)
    defaults = RELEASE_CLASS_TAGS
    return ProcessorSettings(
        tags=ImageTags(
            image=said.get("image_tag", defaults.image),
            generation=said.get("image_gen_tag", defaults.generation),
            start=said.get("image_start_tag", defaults.start),
            end=said.get("image_end_tag", defaults.end),
        ),
        num_image_tokens=said.get("num_image_tokens", RELEASE_NUM_IMAGE_TOKENS),
        template=said.get("sft_format", "deepseek"),
        system_prompt=said.get("system_prompt", UNDERSTANDING_SYSTEM_PROMPT),
        as_read={key: said[key] for key in said if key != "system_prompt"},
    )


def write_release_files(
    settings: ProcessorSettings, image_processor: Mapping[str, Any], folder: Path
) -> None:
    """Both files as the release writes them, its indentations included."""
    said = {**settings.to_dict(), "processor_class": RELEASE_PROCESSOR}
    (folder / PROCESSOR_FILE).write_text(json.dumps(said, indent=4), encoding="utf-8")
    classes = {
        "image_processor_type": RELEASE_IMAGE_PROCESSOR,
        "processor_class": RELEASE_PROCESSOR,
    }
    text = json.dumps({**image_processor, **classes}, indent=2, sort_keys=True)
    (folder / PREPROCESSOR_FILE).write_text(f"{text}\n", encoding="utf-8")


def find_folder(
    name_or_folder: str | Path, *, revision: str | None = None, local_files_only: bool = False
) -> Path:
    """The folder itself, or for a hub id the folder its processor's files were downloaded to."""
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder)
    try:
        return Path(
            snapshot_download(
                str(name_or_folder),
                revision=revision,
                local_files_only=local_files_only,
                allow_patterns=[PROCESSOR_FILE, PREPROCESSOR_FILE, *TOKENIZER_FILES],
            )
        )
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{str(name_or_folder)!r} is neither a folder nor a hub model within reach "
            f"({' '.join(str(error).split())[:200]}): check the name"
        ) from None
