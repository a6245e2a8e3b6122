"""`janusflow eval`: measure what a model draws, on a benchmark's prompts or scenes of shapes."""

from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.options import (
    Adapter,
    BestOf,
    Guidance,
    Json,
    Model,
    Plan,
    Quantize,
    Solver,
    Steps,
)
from janusflow.evaluation.core.registry import LMMS_TASKS, TASKS, find_task

HELP = "; ".join(f"{name}: {entry.summary}" for name, entry in TASKS.items())


def known(task: str) -> str:
    """Refuse what is not measured here: a benchmark of lmms-eval's is answered with its command."""
    names = (*TASKS, *LMMS_TASKS)
    if task not in names:
        raise typer.BadParameter(f"{task!r} is none of: {', '.join(names)}.")
    find_task(task)
    return task


def command(
    task: Annotated[str, typer.Argument(help=HELP, callback=known)],
    model: Model = "mini",
    adapter: Adapter = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Items of each kind; all of a file, 500 of shapes."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The benchmark's own file of prompts."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images compared with."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Who judges drawings of dpg and dsg: official, module:function, or own; geneval's "
            "are scored from the file that its evaluate_images.py writes."
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="FID's network: inception-2015-12-05.pt, or module:function."),
    ] = None,
    features_sha256: Annotated[
        str | None,
        typer.Option(help="Accept the TorchScript file of this digest as --features."),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(min=1, help="Bring all images to this many pixels a side before FID."),
    ] = None,
    categories: Annotated[
        str | None, typer.Option(help="Some of shapes': single,two,counting,colours,...")
    ] = None,
    languages: Annotated[str | None, typer.Option(help="Some of shapes': en,ko.")] = None,
    variety: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Drawings of each prompt whose variety shapes measures; a fifth of --limit.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of images, and of scenes.")] = 2024,
    steps: Steps = 30,
    guidance: Guidance = 2.0,
    solver: Solver = "euler",
    plan: Plan = "auto",
    best_of: BestOf = 1,
    quantize: Quantize = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Items side by side.")] = 50,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write scores and every item's verdict to this .json file."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure drawing, with 95% intervals; benchmarks of understanding are lmms-eval's.

    Items are kept beside the --output file as they come: the same command goes on after an
    interruption. Drawn images lie there too, with a page that shows them and their verdicts.
    torchrun shares the items out; the numbers stay the same.

    Examples:
      janusflow eval shapes --model mini --limit 30 --output scores.json

      janusflow eval shapes --categories two,position --languages en --solver heun --steps 10

      janusflow eval geneval --data evaluation_metadata.jsonl -o geneval.json

      janusflow eval fid --data prompts.txt --images REFERENCE --features NETWORK.pt -o fid.json

      OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m janusflow.cli.main eval shapes -o s.json
    """
    import json
    from functools import cache

    import janusflow
    from janusflow.evaluation.core import report
    from janusflow.evaluation.core.registry import TaskOptions, open_task
    from janusflow.evaluation.core.runner import ProcessInfo, RunFiles, run_task
    from janusflow.inference.drawing.sampling import DrawingSettings
    from janusflow.training.engine.distributed import (
        barrier,
        num_processes,
        process_group,
        rank,
    )

    files = None if out is None else RunFiles(report=out)
    if files is not None:
        files.check()
    options = TaskOptions(
        model=cache(lambda: janusflow.load(model, adapter=adapter, quantize=quantize)),
        limit=limit,
        seed=seed,
        categories=categories,
        languages=languages,
        variety=variety,
        data=data,
        images=images,
        judge=judge,
        features=features,
        features_sha256=features_sha256,
        resolution=resolution,
    )
    drawing = DrawingSettings(
        steps=steps, guidance=guidance, solver=solver, plan=plan, best_of=best_of
    )
    name = ", ".join(filter(None, (model, quantize, *(adapter or ()))))
    with process_group():
        # Judges and models take the device that is current, which is this process's own by now.
        opened = open_task(task, options)
        found = run_task(
            opened,
            options.model() if opened.needs_model else None,
            name=name if opened.needs_model else str(judge),
            drawing=drawing,
            batch_size=batch_size,
            files=files,
            process=ProcessInfo(rank=rank(), world_size=num_processes(), barrier=barrier),
        )
        if rank() > 0:
            return
    if files is not None:
        report.save(found, files)
    if as_json:
        typer.echo(json.dumps(report.as_json(found), ensure_ascii=False, indent=1))
    else:
        # What is only drawn here has no scores: the protocol says who judges it.
        typer.echo(report.lines(found) or found.protocol)
