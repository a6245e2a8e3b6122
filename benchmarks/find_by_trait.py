"""Can a model find one of two objects by its shape, or by its colour?

Run: python benchmarks/find_by_trait.py [--model mini] [--scenes 500]

Training scenes of two objects that share neither shape nor colour; for each object its colour is
asked by its shape and its shape by its colour, in English. Guessing between the two is 50%.
"""

import argparse

import numpy as np

import janusflow
from janusflow.evaluation.runner import run_task
from janusflow.evaluation.scenes import answer_verdict, asked
from janusflow.evaluation.scores import shares
from janusflow.evaluation.tasks import Task
from janusflow.inference.drawing import DrawingSettings
from janusflow.mini.questions import Question
from janusflow.mini.render import render
from janusflow.mini.scenes import sample_scene

WORDINGS = {"colour": "What color is the {shape}?", "shape": "What shape is the {colour} object?"}


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
        picture = render(scene, size=64)
        for thing in scene.objects:
            for kind, wording in WORDINGS.items():
                text = wording.format(shape=thing.shape, colour=thing.colour)
                answer = getattr(thing, kind)
                question = Question(kind=kind, text=text, answer=answer, language="en")
                items.append(asked(len(items), picture, question))
    task = Task(
        name="find by trait",
        protocol="One of two objects, named by a trait that the other lacks.",
        settings={},
        items=items,
        judge=answer_verdict,
        score=lambda rows: shares([(row["asks"], row["right"]) for row in rows]),
    )
    model = janusflow.load(options.model)
    report = run_task(task, model, name=options.model, drawing=DrawingSettings())
    for score in report.scores[:-1]:
        asked_by = "shape" if score.name == "colour" else "colour"
        print(
            f"{score.name} of an object named by its {asked_by}: {score.num_right} of "
            f"{score.num_items}"
        )


if __name__ == "__main__":
    main()
