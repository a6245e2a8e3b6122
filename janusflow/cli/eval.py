"""`janusflow eval`: measure a model on held-out compositions of the scene generator."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from janusflow.cli.options import Model

if TYPE_CHECKING:
    from janusflow.evaluation.shapes import Score

TASKS = ("shapes",)


def command(  # noqa: PLR0913 (what people set, each by its name)
    task: Annotated[str, typer.Argument(help=f"One of: {', '.join(TASKS)}.")],
    model: Model = "mini",
    limit: Annotated[int, typer.Option(min=1, help="Items of each kind.")] = 300,
    objects: Annotated[int, typer.Option(min=1, max=4, help="Objects in a drawn scene.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides the items.")] = 2024,
    steps: Annotated[int, typer.Option(min=1, help="Solver steps.")] = 30,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.")] = 2.0,
    out: Annotated[
        Optional[Path],  # noqa: UP045 (typer)
        typer.Option("--json", help="Write scores and every item's verdict to this file."),
    ] = None,
) -> None:
    """Measure drawing and answering, with 95% intervals.

    Example:

      janusflow eval shapes --model mini --limit 300 --json scores.json
    """
    from tqdm import tqdm

    import janusflow
    from janusflow.config.errors import ConfigError
    from janusflow.evaluation import shapes

    if task not in TASKS:
        raise ConfigError(f"task {task!r} is unknown: wanted one of {', '.join(TASKS)}.")
    jf = janusflow.load(model)
    settings = shapes.DrawingSettings(steps=steps, guidance=guidance)
    items: list[dict[str, object]] = []
    verdicts: list[tuple[str, bool]] = []
    for language in shapes.LANGUAGES:
        drawn = shapes.score_drawing(
            jf, limit, seed=seed, language=language, num_objects=objects, settings=settings
        )
        for _, prompt, _, is_right in tqdm(drawn, total=limit, desc=f"draw {language}"):
            verdicts.append((f"drawing {language}", is_right))
            items.append({"prompt": prompt, "right": is_right})
    drawing = shapes.tally(verdicts)[:-1]
    asked = shapes.score_questions(jf, limit, seed=seed, size=jf.image_size)
    answered: list[tuple[str, bool]] = []
    for question, answer, is_right in tqdm(asked, total=limit, desc="ask"):
        answered.append((f"question {question.kind}", is_right))
        items.append(
            {
                "question": question.text,
                "wanted": question.answer,
                "answer": answer,
                "right": is_right,
            }
        )
    detector = shapes.score_detector(limit, seed=seed, num_objects=objects, size=jf.image_size)
    scores = [detector, *drawing, *shapes.tally(answered)]
    for score in scores:
        typer.echo(_line(score))
    if out is not None:
        rows = [
            {"name": s.name, "right": s.num_right, "items": s.num_items, "interval": s.interval}
            for s in scores
        ]
        report = {"model": model, "seed": seed, "steps": steps, "guidance": guidance}
        text = json.dumps({**report, "scores": rows, "items": items}, ensure_ascii=False, indent=1)
        out.write_text(text, encoding="utf-8")


def _line(score: "Score") -> str:
    low, high = score.interval
    return (
        f"{score.name:28s} {100 * score.share:5.1f} %  ({score.num_right}/{score.num_items}, "
        f"95% {100 * low:.1f} to {100 * high:.1f})"
    )
