"""Train a small JanusFlow on images with captions, then draw with it. Run it from the checkout.

    python examples/train_from_scratch.py [loop.steps=300]

300 steps are 9,600 samples: losses fall, but colours follow the prompt only after more than twice
as many (docs/mini.md). `janusflow train mini` goes the whole way, in hours on two cores.
Needs `pip install "janusflow[data]"`.
"""

import json
import sys
from pathlib import Path

import numpy as np

import janusflow
from janusflow.mini.language.captions import caption
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene
from janusflow.training.recipes import run_recipes

RUNS = Path("runs/from-scratch")
NUM_IMAGES = 500

# Here coloured shapes; any folder of images, with a line of JSON for each, does as well.
(RUNS / "images").mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)
with (RUNS / "shapes.jsonl").open("w", encoding="utf-8") as rows:
    for index in range(NUM_IMAGES):
        scene = sample_scene(rng, num_objects=1)
        render(scene).save(RUNS / "images" / f"{index}.png")
        row = {"image": f"images/{index}.png", "caption": caption(scene, rng, language="en")}
        rows.write(f"{json.dumps(row)}\n")

# The tower that understands images is taken as mini has it; the LLM and all that draws is new.
janusflow.load("mini").model.understanding_encoder.save_pretrained(RUNS / "tower")
(run,) = run_recipes(Path("examples/train_from_scratch.yaml"), tuple(sys.argv[1:]))

jf = janusflow.load(run)
prompts = ["a red circle", "a blue square", "a green star", "a yellow triangle"]
for image, prompt in zip(jf.generate(prompts, seed=0), prompts, strict=True):
    image.save(run / f"{prompt.replace(' ', '-')}.png")
    says = jf.ask(image, "Describe the picture.", max_new_tokens=16)
    print(f"{prompt}: asked what its drawing shows, it says {says!r}")
print("The drawings, the model and the training log are in", run)
