"""Token ids the model needs from a tokenizer: where texts begin and end, and where images sit."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.model.configuration import JanusFlowConfig
from janusflow.processing.processor_files import read_processor_config
from janusflow.processing.tokenizer import completed, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenIds:
    """Defaults are the release's ids (`JanusFlowConfig`), of the image tags assumed."""

    bos: int = JanusFlowConfig.bos_token_id
    eos: int = cast(int, JanusFlowConfig.eos_token_id)
    pad: int = JanusFlowConfig.pad_token_id
    image: int = JanusFlowConfig.image_token_id
    image_start: int = JanusFlowConfig.image_start_token_id
    image_end: int = JanusFlowConfig.image_end_token_id

    @classmethod
    def of(cls, config: JanusFlowConfig) -> "TokenIds":
        """The ids that a configuration carries."""
        eos = config.eos_token_id
        return cls(
            bos=config.bos_token_id or 0,
            eos=eos[0] if isinstance(eos, list) else eos or 0,
            pad=config.pad_token_id or 0,
            image=config.image_token_id,
            image_start=config.image_start_token_id,
            image_end=config.image_end_token_id,
        )


def read_token_ids(folder: Path) -> TokenIds:
    """The ids of a folder's tokenizer, completed with the tags its processor_config.json names.

    The release's vocabulary holds none of them: they are added behind it, in a fixed order, each
    time it is loaded (see docs/parity-quirks.md).

    Raises:
        CheckpointError: a file is missing, or the vocabulary has no begin or end of sentence.
    """
    tags = read_processor_config(folder)
    try:
        tokenizer = completed(load_tokenizer(folder), tags)
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error

    def id_of(token: object) -> int:
        return cast(int, tokenizer.convert_tokens_to_ids(str(token)))

    return TokenIds(
        bos=id_of(tokenizer.bos_token),
        eos=id_of(tokenizer.eos_token),
        pad=id_of(tokenizer.pad_token),
        image=id_of(tags["image_tag"]),
        image_start=id_of(tags["image_start_tag"]),
        image_end=id_of(tags["image_end_tag"]),
    )
