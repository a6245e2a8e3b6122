"""A JanusFlow with random weights, small enough for unit tests: 64-pixel images, 16 tokens."""

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, Qwen3Config, SiglipVisionConfig

from janusflow.inference.pipeline import JanusFlow
from janusflow.mini.training.tokenizer import SPECIAL_TOKENS, mini_processor
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt, count_positions
from janusflow.processing.processor import JanusFlowProcessor

VOCAB_SIZE = 272
IMAGE_SIZE = 64
VISION_PATCH = 16


def tiny_config() -> JanusFlowConfig:
    """One or two blocks everywhere; special tokens are those of mini, ids 0 to 6."""
    return JanusFlowConfig(
        llm_config=LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        ),
        vision_config=SiglipVisionConfig(
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=IMAGE_SIZE,
            patch_size=VISION_PATCH,
        ),
        generation={"latent_size": 8, "width": 16, "num_encoder_blocks": 1, "kernel_size": 3},
        vae="vae",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        image_token_id=3,
        image_start_token_id=5,
        image_end_token_id=6,
    )


def tiny_model(seed: int = 0) -> JanusFlowForConditionalGeneration:
    """Random weights, large enough that prompts, times and images all change the output."""
    torch.manual_seed(seed)
    model = JanusFlowForConditionalGeneration(tiny_config()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def qwen3_model() -> JanusFlowForConditionalGeneration:
    """The same around another family of LLM."""
    torch.manual_seed(1)
    config = tiny_config()
    config.llm_config = Qwen3Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    return JanusFlowForConditionalGeneration(config).eval()


def padded_prompt(rows: list[list[int]], *, pad_token_id: int) -> Prompt:
    """Token rows of different lengths as one prompt batch."""
    length = max(map(len, rows))
    token_ids = torch.tensor([[pad_token_id] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return Prompt(token_ids=token_ids, attention_mask=mask, position_ids=count_positions(mask))


def tiny_vae(seed: int = 0) -> AutoencoderKL:
    """Four levels, as the release's: 8 pixels a latent cell."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=IMAGE_SIZE,
        scaling_factor=0.5,
    ).eval()


def tiny_processor() -> JanusFlowProcessor:
    """Bytes as tokens, so that a Korean syllable takes three of them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    return mini_processor(
        backend, image_size=IMAGE_SIZE, num_image_tokens=(IMAGE_SIZE // VISION_PATCH) ** 2
    )


def tiny_janusflow() -> JanusFlow:
    """All parts joined; images are noise and answers are gibberish, always the same."""
    return JanusFlow(model=tiny_model(), processor=tiny_processor(), vae=tiny_vae(), name="tiny")


def save_tiny(folder: Path) -> Path:
    """A model folder in our layout."""
    tiny_janusflow().save_pretrained(folder)
    return folder
