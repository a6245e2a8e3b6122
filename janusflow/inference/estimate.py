"""What drawing and answering take: memory, operations, and how fast they could be at best.

The real modules run on the meta device and are counted (costs/meter.py). Times are lower bounds:
the larger of operations over the peak rate and of bytes that must be read over the bandwidth.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Int
from torch import Tensor, nn
from transformers import Cache

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.gpus import find_gpu
from janusflow.config.model import require_positive
from janusflow.costs.meter import Meter, counting
from janusflow.flow import combine
from janusflow.inference.loading import DTYPES, MINI, mini_folder
from janusflow.interop.hub import CONFIG, OFFICIAL_VAE, folder_at_hand, model_in
from janusflow.interop.load import on_meta
from janusflow.interop.release import RELEASE, release_config, vae_at_hand, vae_on_meta
from janusflow.interop.release_config import read_config
from janusflow.model.cache import GrowingCache
from janusflow.model.configuration import JanusFlowConfig
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
    """How often it runs."""
    flops: int
    """Each time."""
    bytes_read: int
    """Weights and cached keys and values, each time."""
    seconds: float
    """Each time, at least."""


@dataclass(frozen=True, kw_only=True)
class InferenceCost:
    """What a workload takes."""

    model: str
    workload: Workload
    weights: int
    """Bytes, the VAE's included."""
    cache: int
    """Bytes of keys and values at their most."""
    activations: int
    """Bytes that one pass holds at its most."""
    work: dict[str, Work]
    seconds: float
    """All passes together, at least."""
    notes: list[str]

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.weights + self.cache + self.activations


class MetaModel(NamedTuple):
    """A model without memory."""

    name: str
    model: JanusFlowForConditionalGeneration
    vae: AutoencoderKL
    notes: list[str]


def meta_model(name: str, *, dtype: str) -> MetaModel:
    """Build `mini`, the model in a folder, or `janusflow-1.3b`; nothing is downloaded.

    Raises:
        CheckpointError: no configuration is at hand.
    """
    config, folder, notes = _config(name)
    vae = vae_at_hand([folder and folder / (config.vae or ""), folder, _cached(config.vae)])
    if vae is None:
        if config.vae != OFFICIAL_VAE:
            raise CheckpointError(f"{name}: its VAE {config.vae!r} is not at hand: put it beside.")
        vae = vae_on_meta()
        notes.append(f"the VAE is not at hand: sizes of {OFFICIAL_VAE} are assumed.")
    model = on_meta(config).eval()
    for module in (model, vae):
        nn.Module.to(module, DTYPES[dtype])
    return MetaModel(name, model, vae, notes)


def _config(name: str) -> tuple[JanusFlowConfig, Path | None, list[str]]:
    if name == RELEASE:
        return release_config(), None, [f"{name}: the sizes of the release, without its files."]
    folder = mini_folder() if name == MINI else folder_at_hand(name)
    if found := model_in(folder):
        return read_config(found), found, []
    raise CheckpointError(
        f"{name}: no {CONFIG} at hand: name {MINI}, a model folder, or {RELEASE} for the "
        "release's sizes."
    )


def _cached(vae: str | None) -> Path | None:
    return None if vae is None else folder_at_hand(vae)


def estimate(hollow: MetaModel, workload: Workload) -> InferenceCost:
    """Count what a workload takes."""
    passes = _Passes(hollow, workload)
    with torch.no_grad():
        cache = passes.drawing() if workload.task == "generate" else passes.answering()
    return InferenceCost(
        model=hollow.name,
        workload=workload,
        weights=sum(p.nbytes for part in (hollow.model, hollow.vae) for p in part.parameters()),
        cache=cache,
        activations=passes.activations,
        work=passes.work,
        seconds=sum(each.times * each.seconds for each in passes.work.values()),
        notes=[*hollow.notes, *_assumptions(workload)],
    )


class _Passes:
    """Runs and counts the passes of a workload."""

    def __init__(self, hollow: MetaModel, workload: Workload) -> None:
        self.model, self.vae, self.workload = hollow.model, hollow.vae, workload
        self.work: dict[str, Work] = {}
        self.activations = 0

    def drawing(self) -> int:
        """Prompts once, the solver's steps, the VAE; returns the bytes of the prompts' cache."""
        workload, flow = self.workload, self.model.config.generation
        is_guided = workload.guidance != 1.0
        prompts = self._prompt()
        with self._counted("reading prompts") as meter:
            read = self.model.encode_prompt(with_unconditional(prompts) if is_guided else prompts)
        cached = cache_bytes(read.cache)
        self._hold(meter.peak_bytes - cached)
        shape = (workload.batch, flow.latent_channels, flow.latent_size, flow.latent_size)
        noise = torch.zeros(shape, device="meta")
        x_t = torch.cat([noise] * (2 if is_guided else 1))
        t = torch.zeros(len(x_t), device="meta")
        with self._counted("solver step", times=workload.steps, cached=cached) as meter:
            velocities = self.model.velocity(x_t, t, read)
            if is_guided:
                combine(velocities, scale=workload.guidance)
        self._hold(meter.peak_bytes)
        with self._counted("decoding images") as meter:
            latents: Any = noise.to(self.vae.dtype)  # diffusers types it a FloatTensor
            self.vae.decode(latents)
        self._hold(meter.peak_bytes)
        return cached

    def answering(self) -> int:
        """Image and question once, then tokens; returns the bytes of the cache at the end."""
        workload, config = self.workload, self.model.config
        vision = config.vision_config
        token_ids = self._question()
        pixel_values = torch.zeros(
            workload.batch, 3, vision.image_size, vision.image_size, device="meta"
        )
        cache = GrowingCache(config.llm_config)
        length = token_ids.shape[1]
        with self._counted("reading image and question") as meter:
            embeds = self.model.embed_conversation(token_ids, pixel_values)
            self._continue(embeds, cache)
            del embeds
        read = cache_bytes(cache)
        self._hold(meter.peak_bytes - read)
        half = torch.zeros(workload.batch, workload.answer_tokens // 2, config.hidden_size)
        with counting():  # an answer's middle is its average token
            self._continue(half.to("meta", self.model.dtype), cache)
        cached = cache_bytes(cache)
        token = torch.zeros(workload.batch, 1, config.hidden_size, device="meta")
        with self._counted("answer token", times=workload.answer_tokens, cached=cached) as meter:
            self._continue(token.to(self.model.dtype), cache)
        self._hold(meter.peak_bytes)
        return read * (length + workload.answer_tokens) // length

    def _continue(self, embeds: Tensor, cache: Cache) -> None:
        """One pass of the LLM as answering makes it."""
        batch, length = embeds.shape[:2]
        start = cache.get_seq_length()
        self.model.llm(
            inputs_embeds=embeds,
            attention_mask=torch.ones(batch, start + length, dtype=torch.long),
            position_ids=torch.arange(start, start + length).expand(batch, -1),
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        )

    def _prompt(self) -> Prompt:
        shape = (self.workload.batch, self.workload.prompt_tokens)
        return Prompt(
            token_ids=torch.full(shape, self.model.config.bos_token_id),
            attention_mask=torch.ones(shape, dtype=torch.long),
            position_ids=torch.arange(shape[1]).expand(shape),
        )

    def _question(self) -> Int[Tensor, "b t"]:
        """Begin, an image, words; what the words are changes nothing."""
        config = self.model.config
        num_patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        ids = [config.bos_token_id, config.image_start_token_id]
        ids += [config.image_token_id] * num_patches + [config.image_end_token_id]
        ids += [config.bos_token_id] * self.workload.prompt_tokens
        return torch.tensor(ids).expand(self.workload.batch, -1)

    @contextmanager
    def _counted(self, name: str, *, times: int = 1, cached: int = 0) -> Iterator[Meter]:
        """Count a pass that reads `cached` bytes of keys and values."""
        with counting() as meter:
            yield meter
        gpu = find_gpu(self.workload.gpu)
        precision = "fp32" if DTYPES[self.workload.dtype] == torch.float32 else "bf16"
        bytes_read = cached + meter.bytes_read_of(self.model) + meter.bytes_read_of(self.vae)
        bytes_read -= self._rows_not_read(meter)
        self.work[name] = Work(
            times=times,
            flops=meter.flops,
            bytes_read=bytes_read,
            seconds=max(
                meter.flops / gpu.flops(precision), bytes_read / (1e9 * gpu.bandwidth_gb_s)
            ),
        )

    def _rows_not_read(self, meter: Meter) -> int:
        """An embedding table is looked up, not read, unless it is the output's too."""
        embedding = self.model.llm.get_input_embeddings()
        is_tied = self.model.llm.get_output_embeddings().weight is embedding.weight
        return 0 if is_tied else meter.bytes_read_of(embedding)

    def _hold(self, activations: float) -> None:
        self.activations = max(self.activations, int(activations))


def cache_bytes(cache: Cache) -> int:
    """Bytes of all keys and values."""
    layers: list[Any] = cache.layers
    tensors = [each for layer in layers for each in (layer.keys, layer.values)]
    return sum(each.nbytes for each in tensors if each is not None)


def _assumptions(workload: Workload) -> list[str]:
    rows = 2 if workload.task == "generate" and workload.guidance != 1.0 else 1
    return [
        f"{workload.prompt_tokens} tokens of words; {rows * workload.batch} rows at once.",
        f"times: at least the larger of operations over the peak rate of {workload.gpu} and of "
        "weights, keys and values over its bandwidth; real runs take longer, small batches several "
        "times as long.",
        "memory: nothing for the CUDA context and fragmentation; attention scores are not stored.",
    ]
