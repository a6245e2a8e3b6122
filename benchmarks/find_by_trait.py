"""Can a model find one of two objects by its shape, or by its colour?

Run: python benchmarks/find_by_trait.py [--model mini] [--scenes 500]

Training scenes of two objects that share neither shape nor colour; for each object its colour is
asked by its shape, its shape by its colour, and its place by either, in English. Guessing between
the two is 50%.
"""

import argparse

import numpy as np

import janusflow
from janusflow.evaluation.core.runner import run_task
from janusflow.evaluation.core.scores import shares
from janusflow.evaluation.core.tasks import Task
from janusflow.evaluation.shapes.task import asked, judge_answer
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.mini.language.questions import Kind, Name, Question
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import position, sample_scene

WORDINGS: dict[tuple[Kind, Name], str] = {
    ("colour", "shape"): "What color is the {shape}?",
    ("shape", "colour"): "What shape is the {colour} object?",
    ("position", "shape"): "Where is the {shape}?",
    ("position", "colour"): "Where is the {colour} object?",
}
"""What is asked for, by what, and how."""


def main() -> None:
    """Print one line a trait that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--scenes", type=int, default=500)
    options = parser.parse_args()
    items = []
    for index in range(options.scenes):
        scene = sample_scene(np.random.default_rng((15, index)), num_objects=2, identical=False)
        first, second = scene.objects
        if first.shape == second.shape or first.colour == second.colour:
            continue
        image = render(scene, size=64)
        for thing in scene.objects:
            answers = {"colour": thing.colour, "shape": thing.shape, "position": position(thing)}
            for (kind, name), wording in WORDINGS.items():
                text, answer = wording.format_map(vars(thing)), answers[kind]
                if answer is not None:
                    question = Question(kind=kind, text=text, answer=answer, language="en")
                    item = asked(len(items), image, question)
                    item.facts["named by"] = name
                    items.append(item)
    task = Task(
        name="find by trait",
        protocol="One of two objects, named by a trait that the other lacks.",
        settings={},
        items=items,
        judge=judge_answer,
        score=lambda rows: shares(
            [(f"{row['asks']} by {row['named by']}", row["right"]) for row in rows]
        ),
    )
    model = janusflow.load(options.model)
    report = run_task(task, model, name=options.model, drawing=DrawingSettings())
    for score in report.scores[:-1]:
        print(f"{score.name}: {score.num_right} of {score.num_items}")


if __name__ == "__main__":
    main()
