"""`janusflow demo`: see what the model can do, on one page."""

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from janusflow.cli.options import Adapter, Device, Dtype, Model, Quiet, Steps


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the page and the images.")
    ] = Path("demo"),
    steps: Steps = 30,
    seed: Annotated[int, typer.Option(help="Of the first image.")] = 0,
    model: Model = "mini",
    adapter: Adapter = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quiet: Quiet = False,
) -> None:
    """Draw eight prompts, follow one path from noise to image, ask questions; make a page of it.

    Example:
      janusflow demo --output demo
    """
    start = time.perf_counter()
    typer.echo(f"Loading {model} ...")
    from janusflow.cli.demo_page.page import build_page, next_commands
    from janusflow.cli.demo_page.showcase import PROMPTS, run_showcase
    from janusflow.inference.drawing.metadata import save_image
    from janusflow.inference.loading import load

    jf = load(model, adapter=adapter, device=device, dtype=dtype)
    typer.echo(f"Drawing {len(PROMPTS)} prompts, following one path, asking questions ...")
    showcase = run_showcase(jf, steps=steps, seed=seed, progress=not quiet)
    files = [output / f"drawing-{i + 1}.png" for i in range(len(showcase.drawn))]
    for image, file in zip(showcase.drawn, files, strict=True):
        save_image(image, file)
    program = _program()
    page = output / "index.html"
    page.write_text(
        build_page(showcase, jf, steps=steps, files=files, program=program, model=model),
        encoding="utf-8",
    )
    seconds = time.perf_counter() - start
    typer.echo(f"\nDone in {seconds:.0f} s. Open {page} in a browser.\n\nNext, type for example:")
    for line in next_commands(program, model):
        typer.echo(f"  {line}")


def _program() -> str:
    """What to type for this program: `make demo` leaves it in .venv/bin, which PATH may lack."""
    if shutil.which("janusflow"):
        return "janusflow"
    script = Path(sys.executable).with_name("janusflow")
    return str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)
