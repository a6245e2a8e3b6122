"""The page's token ids are the processor's, in every language."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import janusflow
from janusflow.inference.pipeline import JanusFlow
from janusflow.processing.templates import planning_question

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Node = Callable[..., Any]
KNOWN = [
    "a red circle left of a blue square",
    "  빨간 원 왼쪽의 파란 사각형 \n",
    "it's what we'll see, isn't it?\t12,345.50",
    "ﬁ ① Å ｆｕｌｌ 각",  # what NFKC changes
    "\ufeffx\u0085y\u00a0z\u3000w",  # white space, and what is none
    "😀 👨‍👩‍👧 $& $1 {prompt}",
    "<image_end",
    "",
]
CHARACTERS = [
    *map(chr, range(32, 0x250)),
    *map(chr, range(0x1100, 0x1200)),
    *map(chr, range(0x2000, 0x2070)),
    *map(chr, range(0xAC00, 0xD7A4, 31)),
    *map(chr, range(0xFF00, 0xFFEF)),
    *" \n\t" * 30,
]


@pytest.fixture(scope="module")
def jf() -> JanusFlow:
    return janusflow.load("mini", device="cpu")


def ask(node: Node, site: Path, expression: str, data: Any) -> Any:
    files = {
        name: json.loads((site / "model" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("tokenizer", "manifest")
    }
    setup = "const texts = new m.Texts(data.tokenizer, data.manifest);"
    script = f"(() => {{ {setup} return {expression}; }})()"
    return node("texts.js", script, {**files, "given": data}, root=site)


def texts() -> list[str]:
    rng = random.Random(0)
    drawn = ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 40))) for _ in range(500)]
    return [*KNOWN, *drawn]


def test_prompts_and_plans_are_read_alike(node: Node, site: Path, jf: JanusFlow):
    found = ask(
        node, site, "data.given.map((t) => [texts.prompt(t), texts.planningPrompt(t)])", texts()
    )
    for text, ids in zip(texts(), found, strict=True):
        for asked, own in zip((text, planning_question(text)), ids, strict=True):
            assert own == jf.processor.prompts(asked)["input_ids"][0].tolist(), text


def test_questions_are_read_alike_with_and_without_an_image(node: Node, site: Path, jf: JanusFlow):
    asked = [text for text in texts() if text.strip()]
    found = ask(
        node, site, "data.given.map((t) => [texts.question(t, 0), texts.question(t, 1)])", asked
    )
    image = Image.new("RGB", (64, 64))
    for text, pair in zip(asked, found, strict=True):
        for parts, own in zip(([], [{"type": "image", "image": image}]), pair, strict=True):
            message = {"role": "user", "content": [*parts, {"type": "text", "text": text}]}
            inputs = jf.prepare_inputs([[message]], allow_paths=False)
            assert own == inputs["input_ids"][0].tolist(), text


def test_token_ids_become_the_same_text(node: Node, site: Path, jf: JanusFlow):
    rng = random.Random(1)
    rows = [[rng.randrange(1270) for _ in range(rng.randint(1, 12))] for _ in range(200)]
    found = ask(node, site, "data.given.map((ids) => texts.decode(ids))", rows)
    assert found == [jf.processor.decode(ids) for ids in rows]


def test_marks_of_the_model_are_refused(node: Node, site: Path):
    attempt = """data.given.map((text) => {
        try { texts.prompt(text); } catch (error) { return [error.kind, error.detail]; }
    })"""
    tags = ["<image_beg>", "<｜end▁of▁sentence｜>"]
    found = ask(node, site, attempt, [f"a{tag}b" for tag in tags])
    assert found == [["tag", tag] for tag in tags]
