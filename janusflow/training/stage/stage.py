"""Run a stage recipe: build or load the model, train the named parts, save the average.

The `model/` folder a finished stage leaves is complete (weights, processor, VAE): `janusflow.load`
takes the run's folder, and the next stage starts from it. Before, `janusflow convert RUN DIR` makes
one of its newest checkpoint (export.py).
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from janusflow.config.learning.log import LogConfig
from janusflow.config.recipes import ShipRecipe, StageRecipe
from janusflow.config.records import to_tree
from janusflow.data.batches.collate import Collator, TrainBatch
from janusflow.data.batches.mixture import Kind, mixed_batches, rows_of_step, sources_by_kind
from janusflow.data.prepare import preparation
from janusflow.data.sources.base import BadRows, WeightedSource
from janusflow.data.sources.fingerprint import fingerprint, require_same_data
from janusflow.data.sources.formats import open_sources
from janusflow.interop.hub import CONFIG
from janusflow.interop.load import filled_model
from janusflow.interop.saving import write_folder, write_model
from janusflow.interop.vae import load_vae
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.engine.distributed import (
    balance_by_tokens,
    broadcast_from_main,
    is_main_process,
    main_process_first,
    microbatches_of_rank,
)
from janusflow.training.engine.loop import Hook, StepReport, TrainState, train
from janusflow.training.estimate.utilisation import stage_mfu
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.scoring import load_scorer
from janusflow.training.report.log import LogHook
from janusflow.training.report.previews import Sampler, StageSamples, first_prompts
from janusflow.training.report.trackers import open_trackers
from janusflow.training.stage.build_model import (
    MODEL,
    encoding_vae,
    made_by_earlier_step,
    start_model,
)
from janusflow.training.stage.caching import Cache
from janusflow.training.stage.freezing import train_only

BAD_ROWS = "bad-rows.jsonl"
SHARDS = "shards.jsonl"
DATA = "data.json"


def train_stage(
    recipe: StageRecipe, hooks: tuple[Hook, ...] = (), *, sampler: Sampler | None = None
) -> None:
    """Train one stage and leave `model/` in its run folder.

    Args:
        recipe: what is trained, on what.
        hooks: called after every step, after the stage's own.
        sampler: draws and answers for `log.samples_every`.

    Raises:
        DataError: files of a source have changed since the run began.
    """
    torch.manual_seed(recipe.loop.seed)
    with main_process_first():  # which fetches what is named by a hub id
        processor = JanusFlowProcessor.from_pretrained(recipe.processor)
        model, vae = start_model(recipe, processor), load_vae(recipe.vae)
    train_only(model, recipe.trainable)
    encoder = encoding_vae(vae, recipe.vae_encoding)
    prepare = preparation(processor, model.config, vae, crops=recipe.data.crops)
    if recipe.data.cache is not None:
        prepare = Cache(recipe, model, encoder, prepare).preparation()
    sources = open_sources(sources_by_kind(recipe.data), prepare, lengths=recipe.run / SHARDS)
    broadcast_from_main(partial(_require_same_data, recipe))
    tokenizer = processor.tokenizer.backend_tokenizer
    collate = Collator(tokenizer, model.config, row_tokens=recipe.mixture.row_tokens)
    bad = BadRows(max_share=recipe.mixture.max_bad_share, log=recipe.run / BAD_ROWS)
    scorer = load_scorer(recipe.objective, model)
    objective = JanusFlowObjective(
        model,
        recipe.objective,
        vae=encoder,
        vae_batch_size=recipe.vae_encoding.batch_size,
        scorer=scorer,
    )
    with open_trackers(recipe.log, recipe.run, to_tree(recipe)) as trackers:
        log = LogHook(recipe.run, recipe.loop, trackers=trackers, mfu=stage_mfu(recipe, model))
        if sampler is not None and recipe.log.samples_every:
            settings = {"processor": processor, "vae": encoder, "model_config": model.config}
            config = _with_prompts(recipe, sources["generation"])
            hooks = (StageSamples(config, sampler, trackers=trackers, **settings), *hooks)
        state = train(
            objective,
            partial(_batches, recipe, sources, collate, bad),
            recipe.loop,
            run=recipe.run,
            hooks=[BadRowsHook(bad), log, *hooks],
            rows_of=partial(_rows_of, recipe, sources, bad),
        )
    _save(state, model.config, processor, vae)


def _batches(
    recipe: StageRecipe,
    sources: Mapping[Kind, Sequence[WeightedSource]],
    collate: Collator,
    bad: BadRows,
    step: int,
) -> Iterator[list[TrainBatch]]:
    """This process's micro-batches of every step from this one on."""
    return mixed_batches(
        sources,
        collate,
        recipe.mixture,
        seed=recipe.loop.seed,
        step=step,
        own_parts=partial(microbatches_of_rank, loop=recipe.loop),
        balance=lambda parts: balance_by_tokens(parts, length=lambda built: len(built.row)),
        bad=bad,
    )


def _rows_of(
    recipe: StageRecipe, sources: Mapping[Kind, Sequence[WeightedSource]], bad: BadRows, step: int
) -> list[dict[str, Any]]:
    """The rows of a step's samples, for a message about one that went wrong."""
    rows = rows_of_step(sources, recipe.mixture, seed=recipe.loop.seed, step=step, bad=bad)
    return [row._asdict() for row in rows]


def _save(
    state: TrainState, config: JanusFlowConfig, processor: JanusFlowProcessor, vae: AutoencoderKL
) -> None:
    """Write the averaged model, complete; every process gives its shards."""
    weights = state.averaged_weights("model")
    if is_main_process():
        averaged = filled_model(config, weights, device="cpu")
        write_folder(state.run / MODEL, model=averaged, processor=processor, vae=vae)


def _require_same_data(recipe: StageRecipe) -> None:
    """Let a run go on with the data it was begun with only."""
    named = fingerprint(chain.from_iterable(sources_by_kind(recipe.data).values()))
    require_same_data(recipe.run / DATA, named, is_begun=bool(checkpoints(recipe.run)))


def _with_prompts(recipe: StageRecipe, sources: Sequence[WeightedSource]) -> LogConfig:
    """The recipe's settings for samples, with prompts of its data where it names none."""
    prompts = recipe.log.prompts or first_prompts(sources, seed=recipe.loop.seed)
    return replace(recipe.log, prompts=prompts)


class BadRowsHook:
    """Stops a run in all processes at once when too many of its rows are bad."""

    def __init__(self, bad: BadRows) -> None:
        self.bad = bad

    def after_step(self, state: TrainState, report: StepReport) -> None:  # noqa: ARG002
        """Judge what all processes have counted since the run began.

        Raises:
            DataError: too many rows are bad.
        """
        num_tried = state.samples_seen + state.rows_bad
        self.bad.require_few(num_tried=num_tried, num_bad=state.rows_bad)


def ship(recipe: ShipRecipe) -> None:
    """Store a run's weights as float16: 11 bits of mantissa lose less than bfloat16's 8."""
    source, target = made_by_earlier_step(recipe.start / MODEL / CONFIG).parent, recipe.run / MODEL
    shutil.copytree(source, target, dirs_exist_ok=True)
    model = JanusFlowForConditionalGeneration.from_pretrained(source, dtype=torch.float16)
    write_model(model, target)
