"""What drawing and answering take: memory, operations, and how fast they could be at best.

The real modules run on the meta device and are counted (costs/meter.py). Times are lower bounds:
the larger of operations over the peak rate and of bytes that must be read over the bandwidth.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from transformers import Cache

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.gpus import find_gpu
from janusflow.config.model import require_positive
from janusflow.costs.meter import counting
from janusflow.flow import combine
from janusflow.inference.loading import DTYPES
from janusflow.interop.hub import CONFIG, MINI, OFFICIAL_VAE, folder_at_hand, model_in
from janusflow.interop.load import on_meta
from janusflow.interop.release import RELEASE, release_config, vae_at_hand, vae_on_meta
from janusflow.interop.release_config import read_config
from janusflow.model.cache import GrowingCache
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt, with_unconditional

TASKS = ("generate", "ask")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is asked of a model."""

    task: str = "generate"
    """generate: images; ask: answers to questions about one image each."""
    batch: int = 1
    """Images, or questions, at once."""
    prompt_tokens: int = 64
    """Words before the image is drawn, or of a question."""
    steps: int = 30
    """Of the solver."""
    guidance: float = 2.0
    """1 runs no unconditional branch."""
    answer_tokens: int = 64
    """Of an answer; only `ask`."""
    dtype: str = "bfloat16"
    """Of weights and activations: float32 or bfloat16."""
    gpu: str = "a100"
    """One of config/gpus.py."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"task={self.task!r}: use one of {', '.join(TASKS)}.")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype={self.dtype!r}: use float32, bfloat16 or float16.")
        require_positive(self, "batch", "prompt_tokens", "steps", "answer_tokens")
        find_gpu(self.gpu)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of pass through the model, of the whole batch."""

    times: int
    """How often it runs; the others are of one time."""
    flops: int
    read_bytes: int
    """Weights and cached keys and values."""
    seconds: float
    """At least."""


@dataclass(frozen=True, kw_only=True)
class InferenceCost:
    """What a workload takes."""

    model: str
    workload: Workload
    memory: dict[str, int]
    """Bytes: weights, the VAE's included, the cache and one pass's activations at their most."""
    work: dict[str, Work]
    notes: list[str]

    @property
    def seconds(self) -> float:
        """All passes together, at least."""
        return sum(each.times * each.seconds for each in self.work.values())


def _meta_model(
    name: str,
) -> tuple[JanusFlowForConditionalGeneration, AutoencoderKL, list[str]]:
    """`mini`, the model in a folder, or `janusflow-1.3b`, without memory; its VAE, and notes."""
    notes = [f"{name}: the sizes of the release, without its files."] if name == RELEASE else []
    folder = None if notes else model_in(folder_at_hand(name))
    if folder is None and not notes:
        raise CheckpointError(
            f"{name}: no {CONFIG} at hand: name {MINI}, a model folder, or {RELEASE} for the "
            "release's sizes."
        )
    config = release_config() if folder is None else read_config(folder)
    beside = None if folder is None else folder / (config.vae or "")
    vae = vae_at_hand([beside, folder, folder_at_hand(config.vae) if config.vae else None])
    if vae is None:
        if config.vae != OFFICIAL_VAE:
            raise CheckpointError(f"{name}: its VAE {config.vae!r} is not at hand: put it beside.")
        vae = vae_on_meta()
        notes.append(f"the VAE is not at hand: sizes of {OFFICIAL_VAE} are assumed.")
    return on_meta(config).eval(), vae, notes


@torch.no_grad()
def estimate(name: str, workload: Workload) -> InferenceCost:
    """Count what a workload takes of `mini`, the model in a folder, or `janusflow-1.3b`.

    Nothing is downloaded.

    Raises:
        CheckpointError: no configuration is at hand.
    """
    model, vae, notes = _meta_model(name)
    for module in (model, vae):
        nn.Module.to(module, DTYPES[workload.dtype])
    passes = _Passes(model, vae, workload)
    with torch.device("meta"):
        cache = passes.drawing() if workload.task == "generate" else passes.answering()
    rows = 2 if workload.task == "generate" and workload.guidance != 1.0 else 1
    return InferenceCost(
        model=name,
        workload=workload,
        memory={
            "weights": sum(p.nbytes for part in (model, vae) for p in part.parameters()),
            "cache": cache,
            "activations": passes.activations,
        },
        work=passes.work,
        notes=[
            *notes,
            f"{workload.prompt_tokens} tokens of words; {rows * workload.batch} rows at once.",
            f"times: at least the larger of operations over the peak rate of {workload.gpu} and "
            "of weights, keys and values over its bandwidth; real runs take longer, small batches "
            "several times as long.",
            "memory: nothing for the CUDA context and fragmentation; attention scores are not "
            "stored.",
        ],
    )


class _Passes:
    """Runs and counts the passes of a workload, on the meta device."""

    def __init__(
        self, model: JanusFlowForConditionalGeneration, vae: AutoencoderKL, workload: Workload
    ) -> None:
        self.model, self.vae, self.workload = model, vae, workload
        self.work: dict[str, Work] = {}
        self.activations = 0

    def drawing(self) -> int:
        """Prompts once, the solver's steps, the VAE; returns the bytes of the prompts' cache."""
        workload, flow = self.workload, self.model.config.generation
        ids = torch.ones(workload.batch, workload.prompt_tokens, dtype=torch.long)
        prompt = Prompt(token_ids=ids, attention_mask=ids, position_ids=ids)
        is_guided = workload.guidance != 1.0
        with self._counted("reading prompts") as caches:
            read = self.model.encode_prompt(with_unconditional(prompt) if is_guided else prompt)
            caches.append(read.cache)
        x_t = torch.zeros(
            (1 + is_guided) * workload.batch,
            *(flow.latent_channels, flow.latent_size, flow.latent_size),
        )
        with self._counted("solver step", times=workload.steps, cache=read.cache):
            velocities = self.model.velocity(x_t, torch.zeros(len(x_t)), read)
            if is_guided:
                combine(velocities, scale=workload.guidance)
        latents: Any = x_t[: workload.batch].to(self.vae.dtype)  # diffusers types a FloatTensor
        with self._counted("decoding images"):
            self.vae.decode(latents)
        return cache_bytes(read.cache)

    def answering(self) -> int:
        """Image and question once, then tokens; returns the bytes of the cache at the end."""
        workload, config = self.workload, self.model.config
        size, num_answer = config.vision_config.image_size, workload.answer_tokens
        # Start and end of the image, and the begin of the conversation.
        length = 3 + (size // config.vision_config.patch_size) ** 2 + workload.prompt_tokens
        token_ids = torch.ones(workload.batch, length, dtype=torch.long)
        pixel_values = torch.zeros(workload.batch, 3, size, size)
        cache = GrowingCache(config.llm_config)
        with self._counted("reading image and question") as caches:
            self._continue(self.model.embed_conversation(token_ids, pixel_values), cache)
            caches.append(cache)
        read = cache_bytes(cache)
        tokens = torch.zeros(workload.batch, 1 + num_answer // 2, config.hidden_size)
        tokens = tokens.to(self.model.dtype)
        with counting():  # an answer's middle is its average token
            self._continue(tokens[:, 1:], cache)
        with self._counted("answer token", times=num_answer, cache=cache):
            self._continue(tokens[:, :1], cache)
        return read * (length + num_answer) // length

    def _continue(self, embeds: Tensor, cache: Cache) -> None:
        """One pass of the LLM as answering makes it."""
        batch, length = embeds.shape[:2]
        start = cache.get_seq_length()
        self.model.llm(
            inputs_embeds=embeds,
            position_ids=torch.arange(start, start + length).expand(batch, -1),
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        )

    @contextmanager
    def _counted(
        self, name: str, *, times: int = 1, cache: Cache | None = None
    ) -> Iterator[list[Cache]]:
        """Count a pass that reads a cache; what it fills, put into the list, is no activation."""
        filled: list[Cache] = []
        read = 0 if cache is None else cache_bytes(cache)
        with counting() as meter:
            yield filled
        peak = meter.peak_bytes - sum(map(cache_bytes, filled))
        self.activations = max(self.activations, peak)
        read += meter.bytes_read_of(self.model) + meter.bytes_read_of(self.vae)
        embedding = self.model.llm.get_input_embeddings()
        if self.model.llm.get_output_embeddings().weight is not embedding.weight:
            read -= meter.bytes_read_of(embedding)  # it is looked up, not read
        gpu, flops = find_gpu(self.workload.gpu), meter.flops
        rate = gpu.flops("fp32" if self.workload.dtype == "float32" else "bf16")
        seconds = max(flops / rate, read / (1e9 * gpu.bandwidth_gb_s))
        self.work[name] = Work(times=times, flops=flops, read_bytes=read, seconds=seconds)


def cache_bytes(cache: Cache) -> int:
    """Bytes of all keys and values."""
    layers: list[Any] = cache.layers
    tensors = [each for layer in layers for each in (layer.keys, layer.values)]
    return sum(each.nbytes for each in tensors if each is not None)
