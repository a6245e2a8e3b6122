"""What docs/adapters.md shows runs as it stands."""

import re
from pathlib import Path

import pytest
from adapter_folders import write_adapter

import janusflow

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"


# peft asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    model = janusflow.load("mini", device="cpu").model
    for seed, name in enumerate(("style", "other")):
        write_adapter(tmp_path / "runs" / name, model, seed=seed, size=0.01)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert (tmp_path / "mini-in-style" / "model.safetensors").is_file()
