"""`janusflow eval`: measure what a model draws, on a benchmark's prompts or scenes of shapes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janusflow.cli.options import BestOf, Guidance, Json, Model, Plan, Quantize, Solver, Steps
from janusflow.evaluation.core.registry import LMMS_TASKS, TASKS, find_task

if TYPE_CHECKING:
    from janusflow.evaluation.core.runner import Report, RunFiles
    from janusflow.evaluation.core.sweep import Point

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
    axes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[AXIS=VALUE,...]", help="With --sweep: what to vary."),
    ] = None,
    model: Model = "mini",
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
    seed: Annotated[int, typer.Option(min=0, help="Of images, and of scenes.")] = 2024,
    steps: Steps = 30,
    guidance: Guidance = 2.0,
    solver: Solver = "euler",
    plan: Plan = "auto",
    best_of: BestOf = 1,
    quantize: Quantize = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep", help="Every combination of guidance, steps, solver, grid, best_of, ..."
        ),
    ] = False,
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

      janusflow eval geneval --data evaluation_metadata.jsonl --sweep guidance=1,2,5 steps=10,30

      janusflow eval fid --data prompts.txt --images REFERENCE --features NETWORK.pt -o fid.json

      OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m janusflow.cli.main eval shapes -o s.json
    """
    if sweep != bool(axes):
        got = "--sweep alone" if sweep else f"{' '.join(axes or ())} without --sweep"
        raise typer.BadParameter(f"got {got}, wanted --sweep AXIS=VALUE,VALUE.")
    from functools import cache

    import janusflow
    from janusflow.evaluation.core.registry import TaskOptions, open_task
    from janusflow.evaluation.core.runner import ProcessInfo, RunFiles, run_task
    from janusflow.evaluation.core.sweep import read_axes, run_sweep
    from janusflow.inference.drawing.sampling import DrawingSettings
    from janusflow.training.engine.distributed import (
        num_processes,
        process_group,
        rank,
        wait_for_all,
    )

    files = None if out is None else RunFiles(report=out)
    if files is not None:
        files.check()
    options = TaskOptions(
        model=cache(lambda: janusflow.load(model, quantize=quantize)),
        limit=limit,
        seed=seed,
        categories=categories,
        languages=languages,
        data=data,
        images=images,
        judge=judge,
        features=features,
        features_sha256=features_sha256,
        resolution=resolution,
    )
    swept = read_axes(axes or [])
    drawing = DrawingSettings(
        steps=steps, guidance=guidance, solver=solver, plan=plan, best_of=best_of
    )
    name = model if quantize is None else f"{model}, {quantize}"
    with process_group():
        # Judges and models take the device that is current, which is this process's own by now.
        opened = open_task(task, options)
        settings: dict[str, Any] = {
            "name": name if opened.needs_model else str(judge),
            "drawing": drawing,
            "batch_size": batch_size,
            "files": files,
            "process": ProcessInfo(rank=rank(), world_size=num_processes(), barrier=wait_for_all),
        }
        found: Any
        if swept:
            found = run_sweep(opened, options.model, axes=swept, **settings)
        else:
            found = run_task(opened, options.model() if opened.needs_model else None, **settings)
        if rank() > 0:
            return
    _finish(found, files, as_json=as_json)


def _finish(found: "Report | list[Point]", files: "RunFiles | None", *, as_json: bool) -> None:
    """Write the files, if any are wanted, and print the scores."""
    import json

    from janusflow.evaluation.core import report, sweep

    if isinstance(found, list):
        tree, table = sweep.sweep_as_json(found), sweep.table(found)
        if files is not None:
            sweep.save_sweep(found, files)
    else:
        # What is only drawn here has no scores: the protocol says who judges it.
        tree, table = report.as_json(found), report.lines(found) or found.protocol
        if files is not None:
            report.save(found, files)
    typer.echo(json.dumps(tree, ensure_ascii=False, indent=1) if as_json else table)
