"""What a model folder holds, told without reading its weights."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from janusflow.interop.load import on_meta
from janusflow.interop.release_config import is_official, model_config, read_settings


def describe(folder: Path) -> dict[str, Any]:
    """The parts of the model that a folder's config describes, their sizes and shapes; JSON."""
    settings = read_settings(folder)
    config = model_config(settings, folder)
    model = on_meta(config)
    parameters: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parameters[name.partition(".")[0]] += parameter.numel()
    llm, vision = config.get_text_config(), config.vision_config
    shape = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    dtype = settings.get("dtype") or settings.get("torch_dtype") or _nested_dtype(settings)
    return {
        "folder": str(folder),
        "layout": "official" if is_official(settings) else "janusflow",
        "num_parameters": sum(parameters.values()),
        "parameters": dict(parameters),
        "dtype": str(dtype or "unknown").removeprefix("torch."),
        "llm": {"type": llm.model_type, "vocab_size": llm.vocab_size, **_fields(llm, shape)},
        "understanding_encoder": _fields(vision, ("image_size", "patch_size", *shape)),
        "generation": {**asdict(config.generation), "num_tokens": config.generation.num_tokens},
        "repa": config.repa and asdict(config.repa),
        "token_ids": {
            name: getattr(config, f"{name}_token_id")
            for name in ("bos", "eos", "pad", "image", "image_start", "image_end")
        },
        "vae": config.vae,
    }


def _fields(config: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names}


def _nested_dtype(settings: dict[str, Any]) -> str | None:
    """The release says it in its language model's section only."""
    return (settings.get("language_config") or {}).get("torch_dtype")
