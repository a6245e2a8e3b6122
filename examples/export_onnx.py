"""Export mini as ONNX graphs, then draw with onnxruntime, numpy and tokenizers: without PyTorch.

    python examples/export_onnx.py ["a red circle in the top left"]

Needs `pip install "janusflow[onnx]"` for the export; the drawing shows what another language does.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

FOLDER = Path("mini-onnx")
STEPS, GUIDANCE = 30, np.float32(2.0)
prompt = sys.argv[1] if len(sys.argv) > 1 else "a red circle in the top left"

if not FOLDER.exists():  # a minute or two
    export = [sys.executable, "-m", "janusflow.cli.main", "export", "onnx", "mini", str(FOLDER)]
    subprocess.run(export, check=True)
manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def graph(name: str) -> onnxruntime.InferenceSession:
    """One of the exported parts, on the CPU."""
    return onnxruntime.InferenceSession(FOLDER / f"{name}.onnx", providers=["CPUExecutionProvider"])


# Read the prompt once, in two rows: as it is, and with its first token alone visible.
text = manifest["templates"]["prompt"].format(prompt=prompt)
ids = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(text).ids
mask = np.zeros((2, len(ids)), np.int64)
mask[0], mask[1, 0] = 1, 1
cache, seen = manifest["cache"], manifest["understanding"]
decoder = graph("decoder")
width = next(each for each in decoder.get_inputs() if each.name == "image_features").shape[-1]
_, keys_and_values = decoder.run(
    None,
    {
        "token_ids": np.array([ids, ids]),
        "attention_mask": mask,
        "position_ids": np.tile(np.arange(len(ids)), (2, 1)),
        "image_features": np.zeros((0, seen["num_tokens"], width), np.float32),
        "cache": np.zeros((cache["layers"], 2, 2, cache["heads"], 0, cache["width"]), np.float32),
    },
)

# Euler's method from noise at t = 0 to the image at t = 1, with classifier-free guidance.
drawing = manifest["generation"]
side = drawing["latent_size"]
noise = np.random.default_rng(0).standard_normal((1, drawing["latent_channels"], side, side))
x_t, velocity = noise.astype(np.float32), graph("velocity")
for step in range(STEPS):
    (found,) = velocity.run(
        None,
        {
            "x_t": np.repeat(x_t, 2, axis=0),
            "t": np.full(2, step / STEPS, np.float32),
            "cache": keys_and_values,
            "attention_mask": mask,
            "next_position": np.full(2, len(ids)),
        },
    )
    conditional, unconditional = found[:1], found[1:]
    x_t = x_t + (unconditional + GUIDANCE * (conditional - unconditional)) / np.float32(STEPS)

(pixels,) = graph("vae_decoder").run(None, {"latents": x_t})
levels = ((pixels[0].clip(-1, 1) + 1) / 2 * 255).round().astype(np.uint8)
Image.fromarray(levels.transpose(1, 2, 0)).save("export-onnx.png")
print("wrote export-onnx.png")
