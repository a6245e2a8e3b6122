"""Start `janusflow serve`, and call it with OpenAI's own client: draw, watch it form, ask, edit.

Needs `pip install "janusflow[serve]" openai`.
"""

import base64
import io
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from openai import OpenAI
from PIL import Image

PORT = 8765
URL = f"http://127.0.0.1:{PORT}"


def save(name: str, b64_json: str | None) -> None:
    """Write an image as it came: a PNG file in base64."""
    Path(name).write_bytes(base64.b64decode(b64_json or ""))
    print("wrote", name)


def call(client: OpenAI) -> None:
    """Draw, edit and ask."""
    # What OpenAI has no name for goes into extra_body.
    settings = {"seed": 1, "num_inference_steps": 20, "guidance_scale": 2.0}
    stream = client.images.generate(
        model="mini",
        prompt="a red circle left of a blue square",
        stream=True,
        partial_images=3,
        extra_body=settings,
    )
    for event in stream:
        if event.type == "image_generation.partial_image":
            save(f"serve-partial-{event.partial_image_index}.png", event.b64_json)
        elif event.type == "image_generation.completed":
            save("serve.png", event.b64_json)

    # Of an edit's mask, what is see-through is drawn anew: here the right half.
    mask = Image.new("RGBA", (64, 64), "black")
    mask.paste((0, 0, 0, 0), (32, 0, 64, 64))
    file = io.BytesIO()
    mask.save(file, format="PNG")
    edited = client.images.edit(
        model="mini",
        image=Path("serve.png"),
        mask=("mask.png", file.getvalue(), "image/png"),
        prompt="a red circle left of a green star",
        extra_body=settings,
    )
    save("serve-edited.png", edited.data[0].b64_json if edited.data else None)

    shown = base64.b64encode(Path("serve-edited.png").read_bytes()).decode()
    url = {"url": f"data:image/png;base64,{shown}"}
    question = {"type": "text", "text": "Describe the picture."}
    answer = client.chat.completions.create(
        model="mini",
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": url}, question]}],
        stream=True,
    )
    for chunk in answer:
        print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
    print()


command = [sys.executable, "-m", "janusflow.cli.main", "serve", "--port", str(PORT)]
server = subprocess.Popen(command)
try:
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{URL}/health").close()
            break
        except urllib.error.URLError:
            time.sleep(0.5)
    call(OpenAI(base_url=f"{URL}/v1", api_key="none is needed"))
finally:
    server.terminate()
    server.wait()
