"""`janusflow export onnx`: a model as graphs for onnxruntime, in programs and in browsers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from janusflow.cli.options import Adapter, Json, Vae


def command(
    model: Annotated[str, typer.Argument(help="mini, a folder in either layout, or a hub id.")],
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    dtype: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="How weights are stored; all is computed in float32."),
    ] = "float32",
    vae: Vae = None,
    adapter: Adapter = None,
    as_json: Json = False,
) -> None:
    """Write a model as ONNX graphs with their weights once, its tokenizer, and a manifest.

    Examples:
      janusflow export onnx mini mini-onnx

      janusflow export onnx mini mini-onnx --dtype float16
    """
    from janusflow.inference.drawing.planning import HOW
    from janusflow.inference.drawing.sampling import DrawingSettings
    from janusflow.inference.loading import load
    from janusflow.interop.onnx.export import export_onnx, require_onnx
    from janusflow.tuning.active import merge_and_unload

    require_onnx()  # before the model is loaded
    jf = load(model, adapter=adapter, device="cpu", dtype="float32", vae=vae)
    if any(jf.adapters.values()):
        merge_and_unload(jf.model)
    drawing = DrawingSettings()
    done = export_onnx(
        folder,
        model=jf.model,
        processor=jf.processor,
        vae=jf.vae,
        dtype=dtype,
        image_size=jf.image_size,
        extra={
            "model": jf.name,
            "drawing": {
                "steps": drawing.steps,
                "guidance": drawing.guidance,
                "solver": drawing.solver,
            },
            "planning": asdict(HOW),
        },
        on_graph=lambda name: typer.echo(f"exporting {name}", err=True),
    )
    if as_json:
        typer.echo(json.dumps(asdict(done), default=str, indent=2))
        return
    for name, size in done.sizes.items():
        typer.echo(f"{size / 1e6:8.2f} MB  {name}")
    typer.echo(f"{sum(done.sizes.values()) / 1e6:8.2f} MB  {done.folder}, {done.dtype} weights")
