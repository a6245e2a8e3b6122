"""Model folders in the release's exact layout, at a size for tests.

The tower is the release's large one with one block, because the layout knows no other; the LLM and
the generation path are tiny. Every weight is a function of its name, shape and a seed.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from janusflow.interop.conversion import official_shapes, shapes_of
from janusflow.interop.load import on_meta
from janusflow.interop.release_config import config_from_official

Files = Literal["single", "sharded", "bin", "sharded-bin"]
MakeWeight = Callable[[str, tuple[int, ...]], Tensor]

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
NUM_BYTES = 256
# The release's vocabulary has BOS and EOS only: loading adds the four tags behind them.
TOKEN_IDS = {
    "bos_token_id": NUM_BYTES,
    "eos_token_id": NUM_BYTES + 1,
    "pad_token_id": NUM_BYTES + 1,
    "image_token_id": NUM_BYTES + 2,
    "image_start_token_id": NUM_BYTES + 4,
    "image_end_token_id": NUM_BYTES + 5,
}
VOCAB_SIZE = 272
IMAGE_SIZE = 64


def release_settings(
    *,
    image_size: int = IMAGE_SIZE,
    llm_width: int = 64,
    llm_layers: int = 2,
    vocab_size: int = VOCAB_SIZE,
    width: int = 32,
) -> dict[str, Any]:
    """A config.json as the release writes it, with its misspelt and its ignored keys."""
    return {
        "architectures": ["MultiModalityCausalLM"],
        "language_config": {
            "hidden_size": llm_width,
            "intermediate_size": 2 * llm_width,
            "max_position_embeddings": 16384,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": llm_layers,
            "num_key_value_heads": 4,
            "torch_dtype": "bfloat16",
            "vocab_size": vocab_size,
        },
        "model_type": "multi_modality",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.38.1",
        "vision_gen_dec_config": {
            "cls": "ShallowUViTDecoder",
            "model_type": "vision_gen_dec",
            "params": _decoder_settings(llm_width, width),
        },
        "vision_gen_enc_config": {
            "cls": "ShallowUViTEncoder",
            "model_type": "vision_gen_enc",
            "params": _encoder_settings(llm_width, width),
        },
        "vision_und_enc_config": {
            "cls": "CLIPVisionTower",
            "model_type": "vision_und_enc",
            "params": {
                "image_size": image_size,
                "model_name": "siglip_large_patch16_384",
                "select_feature": "same",
                "select_layer": 1,
            },
        },
    }


def _decoder_settings(llm_width: int, width: int) -> dict[str, Any]:
    return {
        "block_out_channels": [width],
        "elementwise_affine": True,
        "hidden_size": llm_width,
        "in_channels": width,
        "layers_in_middle": 2,
        "norm_eps": 1e-06,
        "out_channels": 4,
        "upsamples": 1,
        "use_bias": True,
        "use_mid_block": True,
    }


def _encoder_settings(llm_width: int, width: int) -> dict[str, Any]:
    return {
        "block_out_channels": [width],
        "elementwize_affine": True,
        "hidden_size": llm_width,
        "input_channels": 4,
        "kernel_size": 2,
        "layers_in_middle": 2,
        "norm_eps": 1e-06,
        "num_extra_tensors": 5,
        "padding": 0,
        "stride": 2,
        "use_bias": True,
        "use_mid_block": True,
    }


def random_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """Near one for norms' scales, small otherwise, as in trained networks."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    noise = torch.randn(shape, generator=generator)
    is_norm = "norm" in name and name.endswith("weight") and "channelwise" not in name
    return 1 + 0.1 * noise if is_norm else 0.05 * noise


def write_release_folder(
    folder: Path,
    *,
    settings: dict[str, Any] | None = None,
    files: Files = "single",
    dtype: torch.dtype = torch.bfloat16,
    make_weight: MakeWeight = random_weight,
) -> dict[str, Tensor]:
    """Write config, weights, tokenizer and processor files; the weights are returned too."""
    settings = settings or release_settings()
    folder.mkdir(parents=True, exist_ok=True)
    # Two spaces and a last newline, like the release's file.
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    model = on_meta(config_from_official(settings, token_ids=TOKEN_IDS))
    shapes = official_shapes(shapes_of(model))
    weights = {name: make_weight(name, shape).to(dtype) for name, shape in shapes.items()}
    _write_weights(folder, weights, files)
    _write_tokenizer(folder)
    _write_processor(folder, settings)
    return weights


def _write_weights(folder: Path, weights: dict[str, Tensor], files: Files) -> None:
    is_bin = files.endswith("bin")
    base, suffix = ("pytorch_model", ".bin") if is_bin else ("model", ".safetensors")

    def write(name: str, part: dict[str, Tensor]) -> None:
        if is_bin:
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name, metadata={"format": "pt"})

    if not files.startswith("sharded"):
        write(base + suffix, weights)
        return
    names = list(weights)
    weight_map = {}
    for index in range(3):
        shard = f"{base}-{index + 1:05d}-of-00003{suffix}"
        part = {name: weights[name] for name in names[index::3]}
        write(shard, part)
        weight_map.update(dict.fromkeys(part, shard))
    total = sum(tensor.nbytes for tensor in weights.values())
    index_text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map})
    (folder / f"{base}{suffix}.index.json").write_text(index_text)


def _write_tokenizer(folder: Path) -> None:
    """Byte level without merges: as many tokens as bytes, then BOS and EOS."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=True) for name in (BOS, EOS)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, TOKEN_IDS["bos_token_id"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": BOS,
            "eos_token": EOS,
            "model_max_length": 16384,
            "pad_token": None,
            "tokenizer_class": "LlamaTokenizerFast",
        },
    )
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    _write_json(
        folder / "special_tokens_map.json",
        {
            "additional_special_tokens": [{"content": "<｜begin▁of▁generation｜>", **plain}],
            "bos_token": {"content": BOS, **plain, "normalized": True},
            "eos_token": {"content": EOS, **plain, "normalized": True},
        },
    )


def _write_processor(folder: Path, settings: dict[str, Any]) -> None:
    size = settings["vision_und_enc_config"]["params"]["image_size"]
    _write_json(
        folder / "processor_config.json",
        {
            "add_special_token": False,
            "ignore_id": -100,
            "image_end_tag": "<image_end>",
            "image_tag": "<image_placeholder>",
            "mask_prompt": True,
            "num_image_tokens": (size // 16) ** 2,
            "processor_class": "VLChatProcessor",
            "sft_format": "deepseek_old",
            "image_gen_tag": "<｜begin▁of▁generation｜>",
            "image_start_tag": "<image_beg>",
        },
        indent=4,
        end="",
    )
    _write_json(
        folder / "preprocessor_config.json",
        {
            "background_color": [127, 127, 127],
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "VLMImageProcessor",
            "image_size": size,
            "image_std": [0.5, 0.5, 0.5],
            "min_size": 14,
            "processor_class": "VLChatProcessor",
            "rescale_factor": 0.00392156862745098,
        },
    )


def _write_json(path: Path, content: dict[str, Any], *, indent: int = 2, end: str = "\n") -> None:
    """Indented as the release's files are: its processor_config.json differs from the others."""
    is_ascii = indent == 4
    text = json.dumps(content, indent=indent, ensure_ascii=is_ascii) + end
    path.write_text(text, encoding="utf-8")
