"""`janusflow generate`: images from words."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from janusflow.cli.options import (
    Adapter,
    BestOf,
    Device,
    Dtype,
    Grid,
    Guidance,
    GuidanceRescale,
    Json,
    Model,
    Offload,
    Plan,
    Quantize,
    Quiet,
    Reuse,
    Solver,
    Steps,
    Upscale,
    Vae,
)
from janusflow.config.errors import ImageError


def command(
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="What to draw.")
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="One a line, or a JSON object a line (prompt, negative_prompt, seed, num_images, "
            "steps, ...), drawn into the folder --output; what is there is not drawn again.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File; several are numbered, written as drawn.")
    ] = Path("out.png"),
    num_images: Annotated[
        int, typer.Option("--num-images", "-n", min=1, help="Images of each prompt.")
    ] = 1,
    steps: Steps = 30,
    guidance: Guidance = 2.0,
    solver: Solver = "euler",
    shift: Annotated[float, typer.Option(help="Above 1: more steps near noise.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Image i has seed + i; random without.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to keep away from.")] = None,
    init_image: Annotated[Path | None, typer.Option(help="Image to start from.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Share of the path walked from it: small stays close.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="White is drawn anew, black keeps --init-image.")
    ] = None,
    outpaint: Annotated[
        str | None,
        typer.Option(
            metavar="L,T,R,B", help="Draw so many pixels around --init-image; squares only."
        ),
    ] = None,
    invert: Annotated[
        str | None,
        typer.Option(help="What --init-image shows, '' to say nothing: start from its own noise."),
    ] = None,
    numerics: Annotated[
        Literal["accurate", "parity"], typer.Option(help="parity: bfloat16 steps, as released.")
    ] = "accurate",
    plan: Plan = "auto",
    best_of: BestOf = 1,
    grid: Grid = "uniform",
    guidance_rescale: GuidanceRescale = 0.0,
    reuse: Reuse = 0.0,
    upscale: Upscale = "none",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Refused unless the model was trained for it.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Drawn side by side.")] = None,
    model: Model = "mini",
    adapter: Adapter = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    offload: Offload = None,
    vae: Vae = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw images. PNG files keep prompt, seed and settings: see `janusflow inspect`.

    Examples:
      janusflow generate "a red circle left of a blue square" -o out.png

      janusflow generate "a blue circle" --init-image out.png --invert "a red circle"

      janusflow generate "a red circle left of a star" --init-image out.png --outpaint 0,32,64,32

      janusflow generate "파란 별" "노란 하트" -n 4 --seed 1 -o images/shape.png

      torchrun --nproc-per-node 2 -m janusflow.cli.main generate --prompts many.jsonl -o images
    """
    from janusflow.inference.drawing.latents import check_size
    from janusflow.inference.drawing.metadata import check_image_path, save_image
    from janusflow.inference.loading import load

    settings = {
        "steps": steps,
        "guidance": guidance,
        "solver": solver,
        "shift": shift,
        "numerics": numerics,
        "plan": plan,
        "best_of": best_of,
        "grid": grid,
        "guidance_rescale": guidance_rescale,
        "reuse": reuse,
        "upscale": upscale,
    }
    loading: dict[str, Any] = {"adapter": adapter, "dtype": dtype, "quantize": quantize}
    loading |= {"offload": offload, "vae": vae}
    if prompts_file is not None or not prompts:
        alone = {
            "PROMPT": prompts or None,
            "--init-image": init_image,
            "--mask": mask,
            "--outpaint": outpaint,
            "--invert": invert,
            "--strength": strength,
            "--size": size,
        }
        prompts_file = file_alone(prompts_file, alone)
        jf = load(model, device=own(device), **loading)
        defaults = {"negative_prompt": negative_prompt, "num_images": num_images, "seed": seed or 0}
        defaults |= settings
        draw_file(jf, prompts_file, output, defaults, batch_size, as_json=as_json, quiet=quiet)
        return
    try:
        check_image_path(output)
    except ImageError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    original, inside, strength = outpainted(init_image, mask, outpaint, strength)
    jf = load(model, device=device, **loading)
    if size is not None:
        check_size(size, trained=jf.image_size)
    paths = numbered(output, len(prompts) * num_images)
    start = time.perf_counter()
    images = jf.generate(
        prompts,
        negative_prompt=negative_prompt,
        num_images=num_images,
        seed=seed,
        init_image=original,
        strength=strength,
        mask=inside,
        invert=invert,
        **settings,
        on_image=lambda index, image: save_image(image, paths[index]),
        progress=not quiet,
        batch_size=batch_size,
    )
    tell(images, paths, time.perf_counter() - start, as_json=as_json)


def file_alone(prompts_file: Path | None, others: Mapping[str, Any]) -> Path:
    """The file of prompts, given, and without what does not go with one."""
    if prompts_file is None:
        raise typer.BadParameter("give one PROMPT or more, or --prompts FILE.")
    for name, value in others.items():
        if value is not None:
            raise typer.BadParameter(f"{name} does not go with --prompts.")
    return prompts_file


def outpainted(
    init_image: Path | None, mask: Path | None, margins: str | None, strength: float | None
) -> tuple[Any, Any, float | None]:
    """The image to start from, its mask and strength: as given, or those of --outpaint."""
    from janusflow.inference.drawing.outpainting import OUTPAINTING_STRENGTH, extended, read_margins

    if margins is None:
        return init_image, mask, strength
    if init_image is None or mask is not None:
        raise typer.BadParameter("--outpaint goes with --init-image, and without --mask.")
    image, inside = extended(init_image, read_margins(margins))
    return image, inside, OUTPAINTING_STRENGTH if strength is None else strength


def own(device: str) -> str:
    """The device of this process: under torchrun each has a GPU of its own."""
    import torch

    number = torch.cuda.device_count()
    if device not in ("auto", "cuda") or "LOCAL_RANK" not in os.environ or not number:
        return device
    return f"cuda:{int(os.environ['LOCAL_RANK']) % number}"


def draw_file(
    jf: Any,
    prompts: Path,
    folder: Path,
    defaults: dict[str, Any],
    batch_size: int | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw this process's share of a file of prompts, and say in one line what was done."""
    from tqdm import tqdm

    from janusflow.inference.prompt_files import draw_lines, read_prompts

    if folder.suffix:
        raise typer.BadParameter(f"{folder}: with --prompts a folder is wanted: -o images")
    lines = read_prompts(prompts, jf, defaults)
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    start, drawn, kept = time.perf_counter(), 0, 0
    shares = draw_lines(jf, lines, folder, rank=rank, world_size=world_size, batch_size=batch_size)
    # disable=None: no bar where stderr is not a terminal.
    for new, old in tqdm(shares, desc="drawing", unit="batch", disable=True if quiet else None):
        drawn, kept = drawn + new, kept + old
    seconds = round(time.perf_counter() - start, 3)
    if as_json:
        report = {"drawn": drawn, "kept": kept, "folder": str(folder), "seconds": seconds}
        typer.echo(json.dumps({**report, "rank": rank, "world_size": world_size}))
        return
    process = f"process {rank + 1} of {world_size}: " if world_size > 1 else ""
    typer.echo(f"{process}{drawn} images drawn, {kept} were there, {seconds} s: {folder}")


def tell(images: Sequence[Any], paths: Sequence[Path], seconds: float, *, as_json: bool) -> None:
    """Say what was written where, and how it was drawn."""
    from janusflow.inference.drawing.metadata import record_of

    written = []
    for image, path in zip(images, paths, strict=True):
        record = record_of(image)
        written.append({"path": str(path), **(asdict(record) if record else {})})
    if as_json:
        report = {"images": written, "seconds": round(seconds, 3)}
        typer.echo(json.dumps(report, ensure_ascii=False, indent=1))
        return
    for entry in written:
        planned = f", planned: {entry['plan']}" if entry["plan"] else ""
        typer.echo(f"{entry['path']}  (seed {entry['seed']}{planned})")


def numbered(output: Path, count: int) -> list[Path]:
    """The file itself for one image; out-1.png, out-2.png, ... for several."""
    if count == 1:
        return [output]
    width = len(str(count))
    return [output.with_stem(f"{output.stem}-{i + 1:0{width}d}") for i in range(count)]
