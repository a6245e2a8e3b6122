"""Options that several commands share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from janusflow.config.errors import ConfigError
from janusflow.config.guidance import read_guidance
from janusflow.config.upscaling import read_upscaling


def _upscaling(said: str) -> str:
    """What was typed, if it makes sense."""
    try:
        read_upscaling(said)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    return said


def _guidance(said: float | str) -> float | str:
    """What was typed, or the default."""
    try:
        return read_guidance(said)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


Model = Annotated[
    str,
    typer.Option("--model", "-m", help="mini (ships with the package), a folder, or a hub id."),
]
Adapter = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="[NAME=]PATH[:WEIGHT]",
        help="A LoRA adapter of the model: a folder, a run or a hub id; several add up.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Quantize = Annotated[
    str | None, typer.Option(help="int8: an 8-bit language model, on the CPU only.")
]
Offload = Annotated[
    Literal["parts", "blocks"] | None,
    typer.Option(
        help="Keep only what runs in memory: blocks takes least, and longest (docs/memory.md)."
    ),
]
Vae = Annotated[
    Path | None, typer.Option(help="Folder of the VAE, where it is not beside the model.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Gpu = Annotated[
    str, typer.Option(help="What an estimate is for: a100, h100, h200, b200, l40s, rtx4090, ...")
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Rows of each source to look at, spread at random.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Steps = Annotated[int, typer.Option(min=1, help="Solver steps; dopri5 chooses its own.")]
Solver = Annotated[
    Literal["euler", "midpoint", "heun", "rk4", "dopri5"], typer.Option(help="ODE solver.")
]
BestOf = Annotated[
    int, typer.Option(min=1, help="Draw so many for each image; the model's own choice is kept.")
]
Plan = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(help="Let the model first say where everything is; auto: where it has learnt to."),
]
GuidanceWeight = Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.")]
Guidance = Annotated[
    Any,  # float | str, of which typer knows nothing
    typer.Option(
        parser=_guidance,
        metavar="WEIGHT",
        help="Classifier-free guidance; 1 is none, 3@0.1-0.6 is 3 for times from 0.1 (0 is noise) "
        "to 0.6, 4..1 falls.",
    ),
]
Grid = Annotated[Literal["uniform", "cosine"], typer.Option(help="cosine: short steps near noise.")]
Reuse = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Skip evaluations of the velocity that are foretold this well, say 0.05; 0 is never.",
    ),
]
GuidanceRescale = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="1 takes away the contrast that guidance adds.")
]
Upscale = Annotated[
    str,
    typer.Option(
        parser=_upscaling,
        metavar="METHOD:FACTOR",
        help="Make images larger: lanczos:2 up to 8, realesrgan:2 to 4 and realesrgan-x4plus:4 "
        "(43 MB, fetched once), refine:2 (the model's own).",
    ),
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[
    float, typer.Option(min=0.0, help="0 is the likeliest answer; up to 1 for variety.")
]
TopP = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest tokens of this share.")
]
