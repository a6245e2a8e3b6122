"""Options that several commands share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="mini (ships with the package), a folder, or a hub id."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Quantize = Annotated[
    str | None, typer.Option(help="int8: an 8-bit language model, on the CPU only.")
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
    int, typer.Option(min=1, help="Draw so many for each picture; the model's own choice is kept.")
]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.")]
Plan = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(help="Let the model first say where everything is; auto: where it has learnt to."),
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[
    float, typer.Option(min=0.0, help="0 is the likeliest answer; up to 1 for variety.")
]
TopP = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest tokens of this share.")
]
