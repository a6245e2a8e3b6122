"""Reading and writing the small JSON files of a model folder, with one-line errors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from janusflow.config.errors import CheckpointError


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: a model folder needs processor_config.json, "
            "preprocessor_config.json and tokenizer.json"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): get the file again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, wanted an object")
    return content


def write_json(content: Mapping[str, Any], path: Path, *, sort_keys: bool = False) -> None:
    """Write an object readably; sorted, it is as transformers and so the release write it."""
    text = json.dumps(content, indent=2, sort_keys=sort_keys, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
