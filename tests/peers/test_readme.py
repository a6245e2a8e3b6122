"""The README's example for transformers and diffusers runs as it stands, over mini."""

import re
from pathlib import Path

import numpy as np
import pytest

from janusflow.inference.pipeline import JanusFlow

REPOSITORY = Path(__file__).parents[2]
RELEASE = "JanusFlow-1.3B"


@pytest.mark.slow
def test_the_example_answers_and_draws_as_jf_does(
    mini: JanusFlow,
    mini_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    section = (
        (REPOSITORY / "README.md").read_text(encoding="utf-8").split("## With transformers")[1]
    )
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], flags=re.DOTALL)
    assert code.count(f'"{RELEASE}"') == 2
    mini.generate("a red circle", seed=0, plan="never", steps=10)[0].save(tmp_path / "out.png")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code.replace(RELEASE, str(mini_folder)), names)
    (answer,) = eval(capsys.readouterr().out.splitlines()[-1])
    assert answer.strip() == mini.ask("out.png", "What is in the image?", max_new_tokens=64)
    assert np.asarray(names["images"][0]).shape == (64, 64, 3)
