"""DPG-Bench's aggregation on answers whose score is known, and from its table to its scores."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmark_runs import Scripted, measure, values
from proposition_table import row, write_table

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.core.registry import TaskOptions, open_task
from janusflow.evaluation.drawing.propositions import dependent_share


def test_a_proposition_counts_only_with_all_it_depends_on():
    parents = {1: [0], 2: [1], 3: [2], 4: [1, 5], 5: [0]}
    everything = dict.fromkeys(parents, True)
    assert dependent_share(everything, parents) == 1.0
    # 2 falls with 1, 3 with 2, 4 with 1.
    assert dependent_share({**everything, 1: False}, parents) == pytest.approx(1 / 5)
    assert dependent_share({**everything, 3: False}, parents) == pytest.approx(4 / 5)
    assert dependent_share({**everything, 5: False}, parents) == pytest.approx(3 / 5)


ROWS = [
    row("a1", 1, "0", "entity - whole", "Is there a cat?"),
    row("a1", 2, "1", "attribute - color", "Is the cat red?"),
    row("a1", 3, "1, 2", "relation - spatial", "Is the cat left?"),
    row("b2", 1, "0", "entity - whole", "Is there a dog?"),
]


def test_dpg_is_the_mean_of_images_and_categories_count_by_themselves(tmp_path: Path):
    data = write_table(tmp_path / "dpg_bench.csv", ROWS)
    model = Scripted({"cat?": "yes", "red": "no", "left": "Yes.", "dog": "yes"})
    report = measure("dpg", model, data=data, judge="own")
    # Of a1 one in three counts, for what is left depends on red; of b2 all.
    assert values(report) == pytest.approx(
        {"entity": 1.0, "attribute": 0.0, "relation": 1.0, "overall": (1 / 3 + 1) / 2}
    )
    assert [text for text, _ in model.prompted[::4]] == [ROWS[0]["text"], ROWS[3]["text"]]
    assert len(report.rows) == 8
    assert report.rows[0]["why"] == "Is the cat red?"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dependency": "x"}, "line 5: got dependency='x', wanted whole numbers"),
        ({"dependency": "7"}, "line 5: got dependency='7', no proposition"),
        ({"item_id": "a1"}, "line 5: got text="),
    ],
)
def test_a_wrong_line_is_named(change: dict[str, str], message: str, tmp_path: Path):
    data = write_table(tmp_path / "dpg_bench.csv", [*ROWS[:3], {**ROWS[3], **change}])
    with pytest.raises(DataError, match=re.escape(message)):
        measure("dpg", Scripted(), data=data, judge="own")


def test_the_official_judge_is_one_line_where_it_is_not_installed(tmp_path: Path):
    data = write_table(tmp_path / "dpg_bench.csv", ROWS)
    with pytest.raises(ConfigError, match="DPG-Bench's judge needs modelscope"):
        measure("dpg", Scripted(), data=data)


def test_the_official_judge_is_made_on_this_processs_own_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def pipeline(*_: object, model: str, device: str) -> None:
        asked.append(device)

    constants = SimpleNamespace(Tasks=SimpleNamespace(visual_question_answering="vqa"))
    monkeypatch.setitem(sys.modules, "modelscope", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "modelscope.pipelines", SimpleNamespace(pipeline=pipeline))
    monkeypatch.setitem(sys.modules, "modelscope.utils", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "modelscope.utils.constant", constants)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    data = write_table(tmp_path / "dpg_bench.csv", ROWS)
    open_task("dpg", TaskOptions(model=lambda: None, data=data))
    assert asked == ["cuda:3"]
