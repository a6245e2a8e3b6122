"""`janusflow estimate`: the memory and time that drawing or answering takes, before it is tried."""

from typing import Annotated, Literal

import typer

from janusflow.cli.options import Gpu, GuidanceWeight, Json, Steps

DTYPES = ("float32", "bfloat16")


def command(
    model: Annotated[
        str, typer.Argument(help="mini, a folder, or janusflow-1.3b for the release's sizes.")
    ] = "mini",
    task: Annotated[
        Literal["generate", "ask"], typer.Option(help="Draw images, or answer about them.")
    ] = "generate",
    batch: Annotated[int, typer.Option(help="Images or questions at once.")] = 1,
    steps: Steps = 30,
    guidance: GuidanceWeight = 2.0,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of a prompt or question.")] = 64,
    answer_tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 64,
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, or both to compare them.")
    ] = "both",
    gpu: Gpu = "a100",
    as_json: Json = False,
) -> None:
    """Tell what memory a model takes, and how fast a GPU could run it at best.

    Nothing is downloaded and no weights are read: the modules are built without memory and counted.

    Examples:
      janusflow estimate janusflow-1.3b --gpu rtx4090 --batch 4

      janusflow estimate mini --task ask --dtype float32 --json
    """
    from janusflow.cli.costs import print_inference
    from janusflow.inference.estimate import Workload, estimate

    workloads = [
        Workload(
            task=task,
            batch=batch,
            prompt_tokens=prompt_tokens,
            steps=steps,
            guidance=guidance,
            answer_tokens=answer_tokens,
            dtype=each,
            gpu=gpu,
        )
        for each in (DTYPES if dtype == "both" else (dtype,))
    ]
    found = [estimate(model, each) for each in workloads]
    print_inference(found, as_json=as_json)
