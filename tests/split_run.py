"""Steps of JanusFlow's training, split among processes and batches; what they leave goes to a file.

Run: python tests/split_run.py SCENES OUT RANK NUM_PROCESSES STEPS MICRO_BATCH SCALE
or the same with `gradients` for STEPS and ALIGNMENT at the end, or with `inputs`, `messages` or
`tower` for STEPS.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from forked import in_processes
from tiny_run import (
    VISION,
    VOCAB_SIZE,
    TinySources,
    make_collator,
    run_model,
    run_vae,
    trained_tokenizer,
)
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.distributed.fsdp._fully_shard import _fsdp_param_group
from transformers import SiglipConfig, SiglipModel

from janusflow.config.learning.tuning import TuneConfig
from janusflow.config.training import (
    Alignment,
    LoopConfig,
    MixtureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    ParallelismConfig,
    Ratio,
)
from janusflow.data.batches.collate import TrainBatch
from janusflow.data.batches.mixture import mixed_batches
from janusflow.flow.path import PathPoint, point_on_path
from janusflow.mini.training.objectives import SiglipObjective
from janusflow.mini.training.runners import region_batch
from janusflow.training.engine.distributed import (
    balance_by_tokens,
    leave_group,
    microbatches_of_rank,
)
from janusflow.training.engine.loop import StepReport, TrainState, accumulate_gradients, train
from janusflow.training.engine.parallelize import full_state_dict, full_tensor, parallelize
from janusflow.training.objectives import janusflow as janusflow_objective
from janusflow.training.objectives.janusflow import JanusFlowObjective
from janusflow.training.objectives.scoring import load_scorer
from janusflow.training.stage.freezing import PARTS, train_only
from janusflow.tuning.inject import add_adapter

MIXTURE = MixtureConfig(batch_size=12, ratios=(Ratio(understanding=1.0, generation=2.0, text=1.0),))


def step_of(
    sources: TinySources,
    *,
    micro_batch: int = 12,
    parallelism: ParallelismConfig | None = None,
    alignment: Alignment = "repa",
    has_adapter: bool = False,
) -> dict[str, Tensor]:
    """Gradients and losses of one step, by name."""
    objective = adapted_objective() if has_adapter else new_objective(alignment)
    parallelize(objective, parallelism or ParallelismConfig())
    losses, batch_stats = accumulate_gradients(objective, next(batches_of(sources, 5, micro_batch)))
    assert batch_stats["samples"] == MIXTURE.batch_size
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    gradients = {name: full_tensor(p.grad) for name, p in trained.items() if p.grad is not None}
    assert {each.dtype for each in [*trained.values(), *gradients.values()]} == {torch.float32}
    # Padding depends on what shares a batch.
    counted = [n for name, n in batch_stats.items() if name not in ("positions", "pairs", "logits")]
    return gradients | losses | {"batch_stats": torch.tensor(counted)}


def tower_step_of(
    sources: TinySources, *, micro_batch: int = 12, parallelism: ParallelismConfig | None = None
) -> dict[str, Tensor]:
    """The same of a step of the SigLIP pair; gradients as shares of their norm, which is large."""
    torch.manual_seed(0)
    text = {name: VISION[name] for name in VISION if name not in ("image_size", "patch_size")}
    text |= {"vocab_size": VOCAB_SIZE, "max_position_embeddings": 16}
    objective = SiglipObjective(SiglipModel(SiglipConfig(vision_config=VISION, text_config=text)))
    parallelize(objective, parallelism or ParallelismConfig())
    tokenizer = Tokenizer.from_str(trained_tokenizer().to_str())
    tokenizer.enable_padding(length=16)
    scenes = sources.scenes
    whole_batch = region_batch(
        [scenes.scene(row) for row in range(len(scenes))],
        scenes.images[:],
        tokenizer,
        np.random.default_rng(0),
        grid=VISION["image_size"] // VISION["patch_size"],
    )
    images = np.arange(len(scenes))
    batches = [
        whole_batch.of(own)
        for own in microbatches_of_rank(images, LoopConfig(micro_batch_size=micro_batch))
    ]
    losses, batch_stats = accumulate_gradients(objective, batches)
    gradients = {
        n: full_tensor(p.grad) for n, p in objective.named_parameters() if p.grad is not None
    }
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    gradients = {name: gradient / norm for name, gradient in gradients.items()}
    return (
        gradients
        | losses
        | {"norm": norm.log(), "batch_stats": torch.tensor([*batch_stats.values()])}
    )


def inputs_of(sources: TinySources, *, parallelism: ParallelismConfig) -> dict[str, Tensor]:
    """How far what reaches the losses and the VAE is from what the batch held."""
    objective = new_objective()
    parallelize(objective, parallelism)
    (batch,) = next(batches_of(sources, 5))
    drawings = batch.drawings
    assert drawings is not None
    assert objective.vae is not None
    assert drawings.latents is not None
    assert drawings.pixel_values is not None
    found: dict[str, Tensor] = {}

    def noted(*, data: Tensor, **others: Tensor) -> PathPoint:
        found["latents"] = (data - drawings.latents).abs().max()
        return point_on_path(data=data, **others)

    def note_pixels(_: nn.Module, inputs: tuple[Tensor]) -> None:
        found["pixels"] = (inputs[0] - drawings.pixel_values).abs().max()

    janusflow_objective.point_on_path = noted
    objective(batch)
    janusflow_objective.point_on_path = point_on_path
    objective.vae.encoder.register_forward_pre_hook(note_pixels)
    objective(replace(batch, drawings=replace(drawings, latents=None)))
    return found


def messages_of(
    sources: TinySources, *, micro_batch: int, parallelism: ParallelismConfig
) -> dict[str, Tensor]:
    """How often a step sends gradients."""
    objective = new_objective()
    parallelize(objective, parallelism)
    reduce = _fsdp_param_group.foreach_reduce
    with mock.patch.object(_fsdp_param_group, "foreach_reduce", side_effect=reduce) as sent:
        accumulate_gradients(objective, next(batches_of(sources, 5, micro_batch)))
    return {"messages": torch.tensor(sent.call_count)}


def run_of(
    sources: TinySources,
    run: Path,
    *,
    steps: int,
    micro_batch: int = 12,
    parallelism: ParallelismConfig | None = None,
    muon: bool = False,
) -> dict[str, Tensor]:
    """Weights, average and losses after some steps of a run, which goes on where it was."""
    parallelism = parallelism or ParallelismConfig()
    optimizer = OptimizerConfig(muon=muon, learning_rate=0.01, warmup_steps=0)
    config = LoopConfig(
        steps=steps, save_every=2, ema=0.5, parallelism=parallelism, optimizer=optimizer
    )
    losses: dict[str, Tensor] = {}

    class Collect:
        def after_step(self, state: TrainState, report: StepReport) -> None:
            losses.update({f"{name} {report.step}": v for name, v in report.losses.items()})

    batches = partial(batches_of, sources, micro_batch=micro_batch)
    state = train(new_objective(), batches, config, run=run, hooks=[Collect()])
    assert state.ema is not None
    weights = full_state_dict(state.objective.get_submodule("model"))
    with state.ema.swapped_in():
        average = full_state_dict(state.objective.get_submodule("model"))
    return weights | {f"average of {name}": value for name, value in average.items()} | losses


def new_objective(alignment: Alignment = "repa") -> JanusFlowObjective:
    """A tiny model that trains all its parts."""
    model = run_model()
    train_only(model, list(PARTS))
    config = ObjectiveConfig(alignment=alignment)
    return JanusFlowObjective(model, config, vae=run_vae(), scorer=load_scorer(config, model))


def adapted_objective() -> JanusFlowObjective:
    """A frozen tiny model with an adapter that has an effect, and a part that trains in full."""
    model = run_model()
    config = TuneConfig(rank=4, on=("llm", "generation_encoder", "aligners", "understanding"))
    add_adapter(model, config, modules_to_save=["generation_decoder"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
    return JanusFlowObjective(model, ObjectiveConfig(), vae=run_vae())


def batches_of(
    sources: TinySources, step: int, micro_batch: int = MIXTURE.batch_size
) -> Iterator[list[TrainBatch]]:
    """This process's share of every step."""
    return mixed_batches(
        sources.by_kind,
        make_collator(run_model()),
        MIXTURE,
        seed=0,
        step=step,
        own_parts=partial(microbatches_of_rank, loop=LoopConfig(micro_batch_size=micro_batch)),
        balance=lambda parts: balance_by_tokens(parts, length=lambda built: len(built.row)),
    )


def split(num: int, out: Path, sources: TinySources, *arguments: str) -> dict[str, Tensor]:
    """Run this program in so many processes; returns what the first one left."""
    out.unlink(missing_ok=True)
    common = (sources.folder, out)
    ended = in_processes(take_part, [(*common, rank, num, *arguments) for rank in range(num)])
    assert [each.code for each in ended] == [0] * num, "".join(each.stderr for each in ended)
    return torch.load(out)


def take_part(
    scenes: Path,
    out: Path,
    rank: int,
    num: int,
    what: str,
    micro_batch: str,
    parallelism: str,
    *more: str,
) -> None:
    """Be one of several processes; the first leaves the result in `out`."""
    meeting, settings = f"file://{out}.meeting", ParallelismConfig(**json.loads(parallelism))
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num)
    sources, size = TinySources(scenes), int(micro_batch)
    if what == "gradients":
        alignment = cast(Alignment, more[0])
        result = step_of(
            sources,
            micro_batch=size,
            parallelism=settings,
            alignment=alignment,
            has_adapter="adapter" in more,
        )
    elif what == "inputs":
        result = inputs_of(sources, parallelism=settings)
    elif what == "messages":
        result = messages_of(sources, micro_batch=size, parallelism=settings)
    elif what == "tower":
        result = tower_step_of(sources, micro_batch=size, parallelism=settings)
    else:
        run, muon = out.parent / "run", "muon" in more
        result = run_of(
            sources, run, steps=int(what), micro_batch=size, parallelism=settings, muon=muon
        )
    if rank == 0:
        torch.save(result, out)
    dist.barrier()
    leave_group()
    Path(f"{out}.meeting").unlink(missing_ok=True)


if __name__ == "__main__":
    scenes, out, rank, num, *arguments = sys.argv[1:]
    take_part(Path(scenes), Path(out), int(rank), int(num), *arguments)
