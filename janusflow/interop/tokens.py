"""Token ids the model needs from a tokenizer: where texts begin and end, and where images sit."""

from pathlib import Path
from typing import Any

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.processing.processor_files import read_processor_config
from janusflow.processing.tokenizer import completed, id_of, load_tokenizer

TokenIds = dict[str, Any]
"""By the names that `JanusFlowConfig` has for them; what is left out is the release's."""


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
    tokens = {name: getattr(tokenizer, f"{name}_token") for name in ("bos", "eos", "pad")}
    tokens |= {name: tags[f"{name}_tag"] for name in ("image", "image_start", "image_end")}
    return {f"{name}_token_id": id_of(tokenizer, str(tokens[name])) for name in tokens}
