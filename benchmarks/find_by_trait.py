"""Can a model find one of two objects by its shape, or by its colour?

Run: python benchmarks/find_by_trait.py [--model mini] [--scenes 500]

Training scenes of two objects that share neither shape nor colour; for each object its colour is
asked by its shape and its shape by its colour, in English. Guessing between the two is 50%.
"""

import argparse

import numpy as np

import janusflow
from janusflow.evaluation.shapes import answered
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
                items.append((picture, question))
    verdicts = [(q.kind, right) for q, _, right in answered(janusflow.load(options.model), items)]
    for kind, asked_by in (("colour", "shape"), ("shape", "colour")):
        right = [is_right for other, is_right in verdicts if other == kind]
        print(f"{kind} of an object named by its {asked_by}: {sum(right)} of {len(right)}")


if __name__ == "__main__":
    main()
