"""The folder of an adapter as peft writes it: found, read and described, without a model."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from janusflow.config.errors import CheckpointError
from janusflow.interop.hub import (
    ADAPTER_CONFIG,
    CONFIG,
    RUN_ADAPTER,
    adapter_at,
    find_folder,
)
from janusflow.interop.weight_files import read_tensors
from janusflow.processing.json_files import read_json

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
FILES = tuple(name for file in (ADAPTER_CONFIG, *WEIGHTS) for name in (file, f"*/{file}"))
"""Of a hub id's, those that are downloaded."""
PREFIX = "base_model.model."
"""Of every weight's name in a file: peft's own model stands around the base."""


@dataclass(frozen=True, kw_only=True)
class AdapterFolder:
    """What a folder holds."""

    folder: Path
    settings: dict[str, Any]
    """Of adapter_config.json."""
    file: Path
    """Of the weights."""

    @property
    def base(self) -> str | None:
        """What its base is called: `mini`, a folder or a hub id."""
        return self.settings.get("base_model_name_or_path")

    @property
    def base_digest(self) -> str | None:
        """Of its base (digest.py); adapters that peft alone wrote have none."""
        return (self.settings.get("auto_mapping") or {}).get("base_digest")

    @property
    def digest(self) -> str:
        """SHA-256 of the weights' file."""
        with self.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def weights(self) -> dict[str, Tensor]:
        """All weights by their names in the base.

        Raises:
            CheckpointError: the file is damaged.
        """
        return {name.removeprefix(PREFIX): each for name, each in read_tensors(self.file).items()}

    def describe(self) -> dict[str, Any]:
        """What `janusflow inspect` tells of it; JSON."""
        weights, settings = self.weights(), self.settings
        adapted = {name.partition(".lora_")[0] for name in weights if ".lora_" in name}
        kind = "dora" if settings.get("use_dora") else str(settings.get("peft_type")).lower()
        return {
            "folder": str(self.folder),
            "adapter": kind,
            "base": self.base,
            "base_digest": self.base_digest,
            "sha256": self.digest,
            "rank": settings.get("r"),
            "alpha": settings.get("lora_alpha"),
            "num_parameters": sum(weight.numel() for weight in weights.values()),
            "bytes": self.file.stat().st_size,
            "adapted_modules": len(adapted),
            "trained_in_full": settings.get("modules_to_save") or [],
            "peft_version": settings.get("peft_version"),
        }


def read_adapter(
    where: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> AdapterFolder:
    """Find an adapter: a folder, a run's, the only one within a folder, or a hub id.

    Raises:
        CheckpointError: there is none, there are several, or a file is missing or damaged.
    """
    folder = adapter_in(
        found := find_folder(
            where,
            files=FILES,
            revision=revision,
            token=token,
            kind="an adapter's folder",
            advice=f"Download it where there is a network: `hf download {where}`.",
        )
    )
    if folder is None:
        what = "this is a model's folder" if (found / CONFIG).is_file() else "there is none here"
        raise CheckpointError(
            f"{where}: no adapter, {what}: wanted a folder with {ADAPTER_CONFIG}, as training with "
            "`tune` and peft write it."
        )
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(
            f"{folder}: an adapter without its weights: wanted {' or '.join(WEIGHTS)}. Get the "
            "folder again, with its large files."
        )
    return AdapterFolder(folder=folder, settings=read_json(folder / ADAPTER_CONFIG), file=file)


def adapter_in(folder: Path) -> Path | None:
    """The folder that holds the adapter: this one, a run's, or the only one within it.

    Raises:
        CheckpointError: there are several within it.
    """
    if found := adapter_at(folder):
        return found
    # peft writes adapters that are not called "default" into folders of their own.
    within = sorted(path.parent for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
    if len(within) > 1:
        raise CheckpointError(
            f"{folder}: holds {len(within)} adapters: name one of "
            f"{', '.join(str(each) for each in within)}."
        )
    return within[0] if within else None


def name_of(where: str | Path) -> str:
    """What an adapter is called unless it is named: the last part of its folder or hub id."""
    path = Path(where)
    last = path.parent if path.name == RUN_ADAPTER and path.parent.name else path
    return (last.name or last.resolve().name).replace(".", "_")
