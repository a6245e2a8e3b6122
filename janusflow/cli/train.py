"""`janusflow train`: run a recipe file, or a folder of them in order; or tell what it takes."""

from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.options import Gpu, Json
from janusflow.config.errors import ConfigError

ONLY_DRY = "with --dry-run"


def command(
    recipe: Annotated[Path, typer.Argument(help="A recipe or a folder of them, its path or name.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings to change, as dotted.key=value; in a folder, of all recipes that have "
            "them, or as task:dotted.key=value of those of a task."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: print sizes, memory and GPU-days.")
    ] = False,
    gpu: Gpu = "a100",
    gpus: Annotated[int, typer.Option(help=f"Processes, one a GPU; {ONLY_DRY}.")] = 8,
    mfu: Annotated[
        float, typer.Option(help=f"Share of the GPU's peak that is reached; {ONLY_DRY}.")
    ] = 0.4,
    prompt_tokens: Annotated[int, typer.Option(help=f"Tokens of a prompt; {ONLY_DRY}.")] = 64,
    question_tokens: Annotated[int, typer.Option(help="Likewise, of a question.")] = 16,
    answer_tokens: Annotated[int, typer.Option(help="Likewise, of an answer or caption.")] = 64,
    text_tokens: Annotated[int, typer.Option(help="Likewise, of a plain text.")] = 512,
    as_json: Json = False,
) -> None:
    """Train by a recipe; an interrupted run goes on where it stopped (`janusflow recipes`).

    Every run folder keeps its settings (recipe.yaml), log (log.jsonl), checkpoints and at the end
    the averaged model (model/), which every other command takes as --model, or with tune the
    adapter (adapter/), taken as --adapter; janusflow convert makes one of any checkpoint. With
    log.samples_every it shows sample images and answers on the way (samples/), with log.to it
    reports to trackers.

    Examples:
      janusflow train mini

      janusflow train mini/8-stage3 run=runs/mine loop.steps=500

      janusflow train mini stage:loop.parallelism.precision=bf16

      janusflow train recipe.yaml "log.to=[tensorboard]"

      janusflow train janusflow-1.3b --dry-run --gpu h100 --gpus 64
    """
    from janusflow.config.dry_run import DryRunConfig

    config = DryRunConfig(
        gpu=gpu,
        gpus=gpus,
        mfu=mfu,
        prompt_tokens=prompt_tokens,
        question_tokens=question_tokens,
        answer_tokens=answer_tokens,
        text_tokens=text_tokens,
    )
    settings = tuple(overrides or ())
    if dry_run:
        from janusflow.cli.costs import print_stages
        from janusflow.training.estimate.dry_run import dry_run_recipes

        print_stages(dry_run_recipes(recipe, settings, config), as_json=as_json)
        return
    if as_json or config != DryRunConfig():
        raise ConfigError(
            f"--json or settings of a dry run ({config}) without --dry-run: a run takes its "
            "settings from the recipe, or as key=value."
        )
    from janusflow.inference.previews import draw_and_answer
    from janusflow.inference.rollouts import OwnRollouts
    from janusflow.training.engine.distributed import is_main_process, process_group
    from janusflow.training.recipes import run_recipes

    with process_group():
        runs = run_recipes(recipe, settings, sampler=draw_and_answer, rollouts=OwnRollouts())
        for run in runs:
            if is_main_process():
                typer.echo(run)
