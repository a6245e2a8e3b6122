"""Skills and what mini could before, as shares right; nothing that was learnt is asked.

Run: python examples/skills/measure.py [--adapter RUN] [--model mini] [--number 40]
"""

import argparse
import json

from skills import QUESTION, SKILLS, Skill, is_right, items

import janusflow
from janusflow.evaluation.shapes.quick import quick_scores
from janusflow.inference.pipeline import JanusFlow

SEED = 1
STEPS = 10
"""Ten steps draw mini's images as well as thirty (docs/mini.md)."""


def skill_score(jf: JanusFlow, skill: Skill, number: int) -> float:
    """Share of a skill's test items that are right."""
    wanted = list(items(skill, number, seed=SEED, is_test=True))
    if skill == "palette":
        got = jf.ask([each.image for each in wanted], [QUESTION] * number)
    else:
        seeds = list(range(number))
        got = jf.generate([each.words for each in wanted], seed=seeds, steps=STEPS)
    return sum(map(is_right, [skill] * number, wanted, got)) / number


def scores(jf: JanusFlow, number: int) -> dict[str, float]:
    """Shares of every skill, then of ShapesEval's categories and questions."""
    learnt = {skill: skill_score(jf, skill, number) for skill in SKILLS}
    return learnt | quick_scores(jf, number, seed=SEED, steps=STEPS)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--adapter")
    parser.add_argument("--number", type=int, default=40, help="of items of each kind")
    said = parser.parse_args()
    found = scores(janusflow.load(said.model, adapter=said.adapter), said.number)
    print(json.dumps({name: round(share, 3) for name, share in found.items()}))


if __name__ == "__main__":
    main()
