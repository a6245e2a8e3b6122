"""Run a stage recipe: build or load the model, train parts or an adapter, save the average.

The `model/` folder a finished stage leaves is complete (weights, processor, VAE): `janusflow.load`
takes the run's folder, and the next stage starts from it. Before, `janusflow convert RUN DIR` makes
one of its newest checkpoint (export.py).
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from janusflow.config.errors import ConfigError
from janusflow.config.learning.log import LogConfig
from janusflow.config.recipes import ShipRecipe, StageRecipe
from janusflow.config.records import to_tree
from janusflow.data.batches.collate import Collator, TrainBatch
from janusflow.data.batches.mixture import Kind, mixed_batches, rows_of_step, sources_by_kind
from janusflow.data.prepare import preparation
from janusflow.data.sources.base import BadRows, WeightedSource
from janusflow.data.sources.fingerprint import fingerprint, require_same_data
from janusflow.data.sources.formats import open_sources
from janusflow.interop.hub import CONFIG, RUN_ADAPTER, RUN_MODEL
from janusflow.interop.saving import write_folder, write_model
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.engine.distributed import (
    balance_by_tokens,
    broadcast_from_main,
    device,
    is_main_process,
    main_process_first,
    microbatches_of_rank,
)
from janusflow.training.engine.loop import Hook, StepReport, TrainState, train
from janusflow.training.estimate.utilisation import stage_mfu
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.preference import PreferenceObjective
from janusflow.training.objectives.scoring import load_scorer
from janusflow.training.report.log import LogHook
from janusflow.training.report.previews import Sampler, StageSamples, first_prompts
from janusflow.training.report.trackers import open_trackers
from janusflow.training.stage.build_model import (
    encoding_vae,
    load_processor_and_vae,
    made_by_earlier_step,
    start_model,
)
from janusflow.training.stage.caching import Cache
from janusflow.training.stage.freezing import set_trainable
from janusflow.training.stage.rebuilding import rebuilt
from janusflow.training.stage.rounds import Rollouts, Rounds
from janusflow.tuning.files import save_adapter

BAD_ROWS = "bad-rows.jsonl"
SHARDS = "shards.jsonl"
DATA = "data.json"


def train_stage(
    recipe: StageRecipe,
    hooks: tuple[Hook, ...] = (),
    *,
    sampler: Sampler | None = None,
    rollouts: Rollouts | None = None,
) -> None:
    """Train one stage and leave `model/`, or `adapter/`, in its run folder.

    Args:
        recipe: what is trained, on what.
        hooks: called after every step, after the stage's own.
        sampler: draws and answers for `log.samples_every`.
        rollouts: draws and judges for `preference`.

    Raises:
        ConfigError: `preference` without rollouts.
        DataError: files of a source have changed since the run began.
    """
    torch.manual_seed(recipe.loop.seed)
    with main_process_first():  # which fetches what is named by a hub id
        processor, vae = load_processor_and_vae(recipe)
        model = start_model(recipe, processor)
    set_trainable(model, recipe)
    encoder = encoding_vae(vae, recipe.vae_encoding)
    prepare = preparation(processor, model.config, vae, crops=recipe.data.crops)
    if recipe.data.cache is not None:
        prepare = Cache(recipe, model, encoder, prepare).preparation()
    sources = open_sources(sources_by_kind(recipe.data), prepare, lengths=recipe.run / SHARDS)
    broadcast_from_main(partial(_require_same_data, recipe))
    tokenizer = processor.tokenizer.backend_tokenizer
    collate = Collator(tokenizer, model.config, row_tokens=recipe.mixture.row_tokens)
    bad = BadRows(max_share=recipe.mixture.max_bad_share, log=recipe.run / BAD_ROWS)
    build = partial(rebuilt, recipe, model.config, device=device())
    objective = _objective(recipe, model, encoder, build)
    batches = partial(_batches, recipe, sources, collate, bad)
    rows_of = partial(_rows_of, recipe, sources, bad)
    with open_trackers(recipe.log, recipe.run, to_tree(recipe)) as trackers:
        mfu = stage_mfu(recipe, model) if recipe.preference is None else None
        log = LogHook(recipe.run, recipe.loop, trackers=trackers, mfu=mfu)
        if sampler is not None and recipe.log.samples_every:
            settings = {"processor": processor, "vae": encoder, "build": build}
            config = _with_prompts(recipe, sources["generation"])
            hooks = (StageSamples(config, sampler, trackers=trackers, **settings), *hooks)
        if isinstance(objective, PreferenceObjective):
            parts = {"processor": processor, "collate": collate, "bad": bad, "trackers": trackers}
            parts |= {"recipe": recipe, "prompts": sources["generation"], "mixed": batches}
            batches = _rounds(objective, rollouts, **parts).batches
        state = train(
            objective,
            batches,
            recipe.loop,
            run=recipe.run,
            hooks=[BadRowsHook(bad), log, *hooks],
            rows_of=rows_of if recipe.preference is None else None,
        )
    _save(recipe, state, model.config, processor, vae)


def _objective(
    recipe: StageRecipe,
    model: JanusFlowForConditionalGeneration,
    vae: AutoencoderKL,
    build: Callable[..., JanusFlowForConditionalGeneration],
) -> JanusFlowObjective:
    make = JanusFlowObjective
    if recipe.preference is not None:
        make = partial(PreferenceObjective, preference=recipe.preference, build=build)
    return make(
        model,
        recipe.objective,
        vae=vae,
        vae_batch_size=recipe.vae_encoding.batch_size,
        scorer=load_scorer(recipe.objective, model),
    )


def _rounds(objective: PreferenceObjective, rollouts: Rollouts | None, **parts: Any) -> Rounds:
    if rollouts is None:
        raise ConfigError(
            f"{parts['recipe'].run}: preference without rollouts, which draw and judge: run the "
            "recipe by janusflow train, or hand over janusflow.inference.rollouts.OwnRollouts()."
        )
    return Rounds(objective=objective, rollouts=rollouts, **parts)


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
    recipe: StageRecipe,
    state: TrainState,
    config: JanusFlowConfig,
    processor: JanusFlowProcessor,
    vae: AutoencoderKL,
) -> None:
    """Write the averaged model, complete, or the adapter; every process gives its shards."""
    weights = state.averaged_weights("model", share_frozen=True)
    if not is_main_process():
        return
    averaged = rebuilt(recipe, config, weights)
    if recipe.tune is None:
        write_folder(state.run / RUN_MODEL, model=averaged, processor=processor, vae=vae)
    else:
        save_adapter(averaged, state.run / RUN_ADAPTER, base=str(recipe.start))


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
    source = made_by_earlier_step(recipe.start / RUN_MODEL / CONFIG).parent
    target = recipe.run / RUN_MODEL
    shutil.copytree(source, target, dirs_exist_ok=True)
    model = JanusFlowForConditionalGeneration.from_pretrained(source, dtype=torch.float16)
    write_model(model, target)
