"""`janusflow train`: run a recipe file, or a folder of them in order; or tell what it takes."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from janusflow.cli.options import Gpu, Json

ONLY_DRY = "with --dry-run"


def command(
    recipe: Annotated[Path, typer.Argument(help="A .yaml recipe, or a folder of them.")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 (typer)
        typer.Argument(help="Settings to change, as dotted.key=value."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: print sizes, memory and GPU-days.")
    ] = False,
    gpu: Gpu = "a100",
    gpus: Annotated[int, typer.Option(help=f"Processes, one a GPU; {ONLY_DRY}.")] = 8,
    shard: Annotated[
        int, typer.Option(help=f"GPUs that share one copy of the model; {ONLY_DRY}.")
    ] = 1,
    precision: Annotated[
        str, typer.Option(help=f"bf16 (weights kept in fp32) or fp32; {ONLY_DRY}.")
    ] = "bf16",
    activation_checkpointing: Annotated[
        bool,
        typer.Option(
            "--activation-checkpointing", help=f"Run blocks again to save memory; {ONLY_DRY}."
        ),
    ] = False,
    mfu: Annotated[
        float, typer.Option(help=f"Share of the GPU's peak that is reached; {ONLY_DRY}.")
    ] = 0.4,
    prompt_tokens: Annotated[
        int, typer.Option(help="Tokens of a prompt, where no rows can be read.")
    ] = 64,
    question_tokens: Annotated[int, typer.Option(help="Likewise, of a question.")] = 16,
    answer_tokens: Annotated[int, typer.Option(help="Likewise, of an answer or caption.")] = 64,
    text_tokens: Annotated[int, typer.Option(help="Likewise, of a plain text.")] = 512,
    as_json: Json = False,
) -> None:
    """Train by a recipe; an interrupted run goes on where it stopped.

    Every run folder keeps its settings (recipe.yaml), log (log.jsonl), checkpoints and the newest
    averaged model (model/), which every other command takes as --model.

    Examples:
      janusflow train recipes/mini

      janusflow train recipes/mini/8-stage3.yaml run=runs/mine loop.steps=500

      janusflow train recipes/janusflow-1.3b --dry-run --gpu h100 --gpus 64 --shard 8
    """
    if not dry_run:
        from janusflow.training.recipes import run_recipes

        for run in run_recipes(recipe, tuple(overrides or ())):
            typer.echo(run)
        return
    from janusflow.cli.costs import print_stages
    from janusflow.config.dry_run import DryRunConfig, TypicalLengths
    from janusflow.training.dry_run import dry_run_recipes

    config = DryRunConfig(
        gpu=gpu,
        gpus=gpus,
        shard=shard,
        precision=precision,
        activation_checkpointing=activation_checkpointing,
        mfu=mfu,
        lengths=TypicalLengths(
            prompt_tokens=prompt_tokens,
            question_tokens=question_tokens,
            answer_tokens=answer_tokens,
            text_tokens=text_tokens,
        ),
    )
    print_stages(dry_run_recipes(recipe, tuple(overrides or ()), config), as_json=as_json)
