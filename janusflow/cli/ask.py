"""`janusflow ask`: a question about images, answered."""

import json
import mimetypes
import os
import time
from typing import Annotated, Any

import typer

from janusflow.cli.options import (
    Adapter,
    Device,
    Dtype,
    Json,
    MaxNewTokens,
    Model,
    Offload,
    Quantize,
    Temperature,
    TopP,
)


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[IMAGE]... QUESTION", help="Image or film files, then the question."
        ),
    ],
    frames: Annotated[int, typer.Option(min=1, help="Of each film, spread evenly.")] = 8,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Annotated[int | None, typer.Option(help="Of the draws; random without.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print words as they come.")] = False,
    model: Model = "mini",
    adapter: Adapter = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    offload: Offload = None,
    as_json: Json = False,
) -> None:
    """Answer a question about one image, several, or none; or about frames of a film.

    Examples:
      janusflow ask photo.jpg "What is left of the square?"

      janusflow ask before.png after.png "What has changed?" --json

      janusflow ask clip.mp4 "What happens?" --frames 8
    """
    from janusflow.inference.answering.chat import question_message
    from janusflow.inference.loading import load

    if stream and as_json:
        raise typer.BadParameter("leave out one of --stream and --json.")
    *images, question = inputs
    if _is_media(question):
        raise typer.BadParameter(f"a question is missing after {question}.")
    # Unreadable images are refused before seconds go into loading a model.
    shown = [frame for image in images for frame in _open(image, frames)]
    jf = load(
        model, adapter=adapter, device=device, dtype=dtype, quantize=quantize, offload=offload
    )
    start = time.perf_counter()
    pieces = []
    for piece in jf.stream(
        [question_message(shown, question)],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    ):
        pieces.append(piece)
        if stream:
            typer.echo(piece, nl=False)
    answer = "".join(pieces).strip()
    if stream:
        typer.echo()
    elif as_json:
        report = {
            "model": model,
            "images": images,
            "question": question,
            "answer": answer,
            "seconds": round(time.perf_counter() - start, 3),
        }
        typer.echo(json.dumps(report, ensure_ascii=False, indent=1))
    else:
        typer.echo(answer)


def _is_media(text: str) -> bool:
    """Whether this is an image or film rather than a question."""
    kind, _ = mimetypes.guess_type(text)
    is_named_so = kind is not None and kind.startswith(("image/", "video/"))
    return os.path.isfile(text) or (is_named_so and " " not in text)


def _open(path: str, frames: int) -> list[Any]:
    from janusflow.processing.image_files import open_image
    from janusflow.processing.video import is_video, sample_frames

    return sample_frames(path, frames) if is_video(path) else [open_image(path)]
