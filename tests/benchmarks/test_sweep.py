"""benchmarks/sweep.py: what an axis is, each point a run of its own, and one table of all."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import janusflow
from janusflow.config.errors import ConfigError
from janusflow.evaluation.core.scores import Measurement, shares
from janusflow.evaluation.core.tasks import Row, Task, ToDraw

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import sweep

ITEMS = [ToDraw(id=f"d{i}", kind="drawn", prompt=f"number {i}", seed=i) for i in range(4)]


@dataclass
class Draws:
    """Paints in the colour of its settings, and remembers them."""

    made: list[tuple[float, int]] = field(default_factory=list)
    budget: int = 100

    def generate(
        self, prompt: Sequence[str], *, guidance: float, steps: int, **_: Any
    ) -> list[Image.Image]:
        if len(self.made) >= self.budget:
            raise KeyboardInterrupt
        self.made.append((guidance, steps))
        return [Image.new("RGB", (4, 4), (int(guidance), steps, 0)) for _ in prompt]


def score(rows: Sequence[Row]) -> list[Measurement]:
    mean = sum(row["guidance"] for row in rows) / len(rows)
    return [
        *shares([("drawn", row["right"]) for row in rows])[:1],
        Measurement(name="guidance", value=mean, num_items=len(rows), is_share=False),
    ]


def judge(_: Any, image: Image.Image) -> dict[str, Any]:
    guidance, steps, _blue = image.getpixel((0, 0))
    return {"right": steps > 9, "guidance": guidance}


TASK = Task(name="toy", protocol="None.", settings={}, items=ITEMS, judge=judge, score=score)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(model: Draws, *words: str) -> None:
        monkeypatch.setattr(janusflow, "load", lambda _: model, raising=False)
        monkeypatch.setattr(sweep, "open_task", lambda *_: TASK)
        sweep.main(["shapes", *words, "--output", str(tmp_path / "out.json")])

    return run


def test_axes_are_drawing_settings_with_values_of_their_kind():
    words = "guidance=1,3@0.1-0.6", "steps=10,30", "solver=euler,heun", "reuse=0", "best_of=1,4"
    found = sweep.combinations(sweep.read_axes(words))
    assert len(set(found)) == len(found) == 16
    assert {each.steps for each in found} == {10, 30}
    assert {each.shift for each in found} == {1.0}
    assert sweep.read_axes(["steps=10,10,5"]) == {"steps": ["10", "5"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["precision=float32"], "'precision' is no axis. Write AXIS=VALUE,VALUE once for each of:"),
        (["shift"], "sweep: shift is '': wanted a number"),
        (["guidance=2,3@0.6"], "guidance='3@0.6': wanted a weight such as 2"),
        (["reuse=0.1", "solver=heun"], "reuse=0.1 with solver=heun"),
        (["steps=10,ten"], "sweep: steps is 'ten': wanted a whole number"),
        (["steps=10", "steps=20"], "'steps' is there already"),
    ],
)
def test_what_is_no_axis_or_no_value_is_named(words: list[str], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        sweep.combinations(sweep.read_axes(words))


def test_a_mistake_is_one_line_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(janusflow, "load", lambda *_: pytest.fail("loaded"), raising=False)
    with pytest.raises(SystemExit) as refused:
        sweep.main(["dpg", "steps=5", "--output", str(tmp_path / "out.json")])
    assert refused.value.code == 1
    assert capsys.readouterr().err == (
        "error: got no --data: this task needs it, see docs/evaluation.md.\n"
    )


def test_a_sweep_that_was_cut_off_goes_on_and_more_values_draw_only_themselves(run: Any):
    words = ("guidance=1,3", "steps=5,10")
    with pytest.raises(KeyboardInterrupt):
        run(Draws(budget=3), *words)
    rest, more = Draws(), Draws()
    run(rest, *words)
    assert rest.made == [(3.0, 10)]
    run(more, "guidance=1,3,7.5", "steps=5,10")
    assert more.made == [(7.5, 5), (7.5, 10)]


def test_points_keep_reports_and_the_table_lies_beside_them(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(Draws(), "guidance=1,2.5", "steps=5,10")
    for guidance in ("1", "2.5"):
        point = tmp_path / "out.sweep" / f"guidance={guidance},steps=5.json"
        report = json.loads(point.read_text(encoding="utf-8"))
        assert report["settings"]["guidance"] == float(guidance)
        assert point.with_suffix(".html").is_file()
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines() == [
        "guidance,steps,drawn,guidance",
        "1,5,0.0,1.0",
        "1,10,1.0,1.0",
        "2.5,5,0.0,2.0",
        "2.5,10,1.0,2.0",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["drawn", "guidance"],
        ["guidance=1,steps=5", "0.0", "%", "1.00"],
        ["guidance=1,steps=10", "100.0", "%", "1.00"],
    ]
    assert len({len(line) for line in lines}) == 1
