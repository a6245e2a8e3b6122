"""Whether an adapter fits: its settings, its base, and its weights, each refused in one line."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from janusflow.config.errors import CheckpointError
from janusflow.tuning.digest import NAMES_LENGTH, base_digest
from janusflow.tuning.folder import AdapterFolder
from janusflow.tuning.peft_library import quiet_peft

HONOURED = frozenset(
    (
        *("task_type", "peft_type", "auto_mapping", "peft_version", "inference_mode"),
        *("base_model_name_or_path", "revision", "r", "lora_alpha", "use_rslora", "use_dora"),
        *("lora_dropout", "lora_bias", "fan_in_fan_out", "init_lora_weights", "modules_to_save"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("rank_pattern", "alpha_pattern"),
    )
)
"""Settings of LoRA that may say anything; all others must say what changes nothing."""
LEAVE_BASE = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to begin LoRA; others change the weights of the base."""
NUM_LISTED = 3
"""Weights that an error names; of the others it says how many there are."""


def lora_config(source: AdapterFolder) -> Any:
    """The settings of an adapter as peft has them, all of them known and honoured.

    Raises:
        CheckpointError: one is not.
    """
    from peft import LoraConfig

    settings, place = source.settings, source.folder
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{place}: an adapter of type {kind}: wanted LORA, as DoRA is too.")
    known = {field.name for field in fields(LoraConfig) if field.init}
    # What is off changes nothing, whatever it would mean.
    newer = [key for key, value in settings.items() if key not in known and value]
    if newer:
        raise CheckpointError(
            f"{place}: this peft does not know the settings {some_of(newer)}: the adapter was "
            f"written by peft {settings.get('peft_version')}: pip install -U peft."
        )
    given = {key: value for key, value in settings.items() if key in known}
    try:
        with quiet_peft():
            config, plain = LoraConfig(**given), LoraConfig()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{place}: its settings are damaged ({error}).") from error
    for key in sorted(known - HONOURED):
        if getattr(config, key) != getattr(plain, key):
            raise CheckpointError(
                f"{place}: {key}={getattr(config, key)!r:.80} is not supported here: wanted plain "
                "LoRA or DoRA. Load it by peft alone (peft.PeftModel.from_pretrained)."
            )
    if config.init_lora_weights not in LEAVE_BASE:
        raise CheckpointError(
            f"{place}: init_lora_weights={config.init_lora_weights!r} changed the base: save it as "
            "plain LoRA (peft's path_initial_model_for_weight_conversion)."
        )
    return config


def check_base(model: Any, source: AdapterFolder) -> None:
    """Refuse an adapter that was made for another base.

    Raises:
        CheckpointError: the digests differ; without one only names and shapes tell, later.
    """
    wanted = source.base_digest
    if wanted is None:
        return
    found = base_digest(model)
    if wanted[:NAMES_LENGTH] != found[:NAMES_LENGTH]:
        what = "which has other layers than this model"
    elif model.dtype != torch.float16 and wanted != found:
        what = "whose weights are not those of this model"
    else:
        return
    raise CheckpointError(
        f"{source.folder}: an adapter of {source.base}, {what}: load it onto its own base."
    )


def check_values(source: AdapterFolder, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no finite numbers, or change nothing.

    Raises:
        CheckpointError: naming them.
    """
    wrong = [name for name, each in weights.items() if not torch.isfinite(each).all()]
    if wrong:
        raise CheckpointError(f"{source.folder}: not all finite numbers: {some_of(wrong)}.")
    is_plain = not (source.settings.get("use_dora") or source.settings.get("modules_to_save"))
    second = [each for name, each in weights.items() if ".lora_" in name and "_B" in name]
    if is_plain and second and not any(each.any() for each in second):
        raise CheckpointError(
            f"{source.folder}: changes nothing: lora_B=0 everywhere, as before training."
        )


def check_names(
    source: AdapterFolder, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    """Refuse weights without a place in the model, places without weights, and other shapes.

    Args:
        source: where they come from.
        weights: of the adapter.
        wanted: what the model has for it.

    Raises:
        CheckpointError: naming the first of them.
    """
    if not wanted.keys() & weights.keys():
        raise CheckpointError(
            f"{source.folder}: none of its {len(weights)} weights has a place in this model "
            f"({some_of(weights)}): an adapter of another network."
        )
    parts = {
        "unknown": weights.keys() - wanted.keys(),
        "missing": wanted.keys() - weights.keys(),
        "of another shape": [
            f"{key} {tuple(each.shape)} instead of {tuple(wanted[key].shape)}"
            for key, each in weights.items()
            if key in wanted and each.shape != wanted[key].shape
        ],
    }
    told = "; ".join(f"{what}: {some_of(names)}" for what, names in parts.items() if names)
    if told:
        raise CheckpointError(
            f"{source.folder}: its weights do not fit this model ({told}): it is of another base, "
            "or incomplete."
        )


def some_of(names: Iterable[str]) -> str:
    """The first few names, and how many there are besides."""
    listed = sorted(names)
    more = len(listed) - NUM_LISTED
    return ", ".join(listed[:NUM_LISTED]) + (f" and {more} more" if more > 0 else "")
