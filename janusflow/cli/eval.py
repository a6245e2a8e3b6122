"""`janusflow eval`: measure a model on held-out scenes, or on easy-VQA's own test questions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from janusflow.cli.options import Model

if TYPE_CHECKING:
    from janusflow.evaluation.shapes import Score


def command(
    task: Annotated[Literal["shapes", "easy-vqa"], typer.Argument(help="What to measure.")],
    model: Model = "mini",
    limit: Annotated[int, typer.Option(min=1, help="Items of each kind.")] = 300,
    objects: Annotated[int, typer.Option(min=1, max=4, help="Objects in a drawn scene.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Decides the items.")] = 2024,
    steps: Annotated[int, typer.Option(min=1, help="Solver steps.")] = 30,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.")] = 2.0,
    out: Annotated[
        Optional[Path],  # noqa: UP045 (typer)
        typer.Option("--json", help="Write scores and every item's verdict to this file."),
    ] = None,
) -> None:
    """Measure drawing and answering, with 95% intervals.

    shapes: captions and questions of scenes whose composition training never saw, judged by the
    scene generator's own detector; a drawing is right when it has exactly the scene's objects,
    and is counted by its colours and its shapes alone too.

    easy-vqa: that data set's test split (fetched on first use).

    Example:
      janusflow eval shapes --model mini --limit 300 --json scores.json
    """
    import janusflow
    from janusflow.config.errors import ConfigError
    from janusflow.evaluation import shapes

    if out is not None and not out.parent.is_dir():
        raise ConfigError(f"--json {out}: there is no folder {out.parent}. Make it first.")
    jf = janusflow.load(model)
    if task == "easy-vqa":
        scores, items = _easy_vqa(jf, limit)
    else:
        settings = shapes.DrawingSettings(steps=steps, guidance=guidance)
        scores, items = _shapes(jf, limit, objects=objects, seed=seed, settings=settings)
    for score in scores:
        typer.echo(_line(score))
    if out is not None:
        rows = [
            {"name": s.name, "right": s.num_right, "items": s.num_items, "interval": s.interval}
            for s in scores
        ]
        report = {"task": task, "model": model, "version": janusflow.__version__, "seed": seed}
        report |= {"steps": steps, "guidance": guidance, "scores": rows, "items": items}
        out.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")


def _shapes(
    jf: Any, limit: int, *, objects: int, seed: int, settings: Any
) -> tuple[list["Score"], list[dict[str, Any]]]:
    from tqdm import tqdm

    from janusflow.evaluation import shapes

    items: list[dict[str, Any]] = []
    verdicts: list[tuple[str, bool]] = []
    for language in shapes.LANGUAGES:
        drawn = shapes.score_drawing(
            jf, limit, seed=seed, language=language, num_objects=objects, settings=settings
        )
        for each in tqdm(drawn, total=limit, desc=f"draw {language}"):
            verdicts += [(f"drawing {language}{of}", right) for of, right in each.verdicts.items()]
            found = [" ".join(kind) for kind in each.found.elements()]
            items.append({"prompt": each.prompt, "found": found, "right": each.verdicts[""]})
    asked = shapes.score_questions(jf, limit, seed=seed, size=jf.image_size)
    answers = _answers(asked, total=limit)
    detector = shapes.score_detector(limit, seed=seed, num_objects=objects, size=jf.image_size)
    answer_scores = shapes.tally([(f"question {a['kind']}", a["right"]) for a in answers])
    return [detector, *shapes.tally(verdicts)[:-1], *answer_scores], items + answers


def _easy_vqa(jf: Any, limit: int) -> tuple[list["Score"], list[dict[str, Any]]]:
    from janusflow.evaluation import shapes
    from janusflow.mini.easy_vqa import EasyVqa, fetch_easy_vqa

    test = EasyVqa(fetch_easy_vqa(Path("runs/mini/easy-vqa")), "test")
    items = [(test.pictures[i], shapes.plain_question(q, a)) for q, a, i in test.questions[:limit]]
    answers = _answers(shapes.answered(jf, items), total=len(items))
    return shapes.tally([("easy-VQA test", a["right"]) for a in answers])[:1], answers


def _answers(asked: Iterator[tuple[Any, str, bool]], *, total: int) -> list[dict[str, Any]]:
    from tqdm import tqdm

    return [
        {
            "kind": question.kind,
            "question": question.text,
            "wanted": question.answer,
            "answer": answer,
            "right": is_right,
        }
        for question, answer, is_right in tqdm(asked, total=total, desc="ask")
    ]


def _line(score: "Score") -> str:
    low, high = score.interval
    return (
        f"{score.name:28s} {100 * score.share:5.1f} %  ({score.num_right}/{score.num_items}, "
        f"95% {100 * low:.1f} to {100 * high:.1f})"
    )
