"""`janusflow tune`: from a folder of pictures to an adapter, and a page of before and after."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from janusflow.cli.options import Json, Model, Quiet


def command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of pictures, each with a .txt of its name or none; questions.json, as "
            "LLaVA has it, may ask about them."
        ),
    ],
    prompt: Annotated[
        str | None,
        typer.Option(
            help="What pictures without a .txt show; without this the model says what it sees."
        ),
    ] = None,
    class_prompt: Annotated[
        list[str] | None,
        typer.Option(help="What the model shall go on drawing as it does; repeat for several."),
    ] = None,
    class_question: Annotated[
        list[str] | None,
        typer.Option(help="What it shall go on answering about them; repeat for several."),
    ] = None,
    num_class_images: Annotated[
        int,
        typer.Option(min=0, help="Its own drawings that are learnt beside the pictures; 0: none."),
    ] = 96,
    prior_loss_weight: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Of these drawings, against 1 of the pictures; 2 of mini, 1 of others."
        ),
    ] = None,
    model: Model = "mini",
    method: Annotated[Literal["lora", "dora"], typer.Option(help="Kind of adapter.")] = "lora",
    rank: Annotated[int, typer.Option(min=1, help="Of the adapter.")] = 16,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of training; 450 of mini, 500 of larger ones.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="3e-3 of mini, 1e-4 of larger models.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples a step; 16 of mini, 4 of larger models.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of training and of its own drawings.")] = 0,
    samples_every: Annotated[
        int, typer.Option(min=1, help="Steps between samples and checkpoints.")
    ] = 50,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Run folder; by default runs/tune/ and the folder."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Learn a thing, a style or a kind of question from a folder, and keep the rest.

    Leaves the adapter (adapter/), the recipe it was trained by (tune.yaml, to be edited), samples
    on the way (samples/) and a page of before and after (index.html). The same command goes on
    after an interruption.

    Examples:
      janusflow tune my-cat --prompt "a photo of sks cat" --class-prompt "a photo of a cat"

      janusflow tune emoji --output runs/emoji-style --steps 500

      janusflow generate "a photo of sks cat" --adapter runs/tune/my-cat
    """
    from janusflow.cli.tune_page.tuning import Request, tune

    request = Request(
        folder=folder,
        prompt=prompt,
        class_prompts=tuple(class_prompt or ()),
        class_questions=tuple(class_question or ()),
        num_class_images=num_class_images,
        model=model,
        run=output or Path("runs/tune") / folder.resolve().name,
        settings={
            "method": method,
            "rank": rank,
            "steps": steps,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "prior_weight": prior_loss_weight,
            "seed": seed,
            "samples_every": samples_every,
        },
    )
    tuned = tune(request, tell=lambda line: typer.echo(line, err=True), progress=not quiet)
    if as_json:
        import json

        typer.echo(json.dumps(tuned.as_json(), ensure_ascii=False, indent=1))
        return
    typer.echo(f"\nDone in {tuned.seconds:.0f} s. Open {tuned.page} in a browser.\n")
    for line in tuned.commands():
        typer.echo(f"  {line}")
