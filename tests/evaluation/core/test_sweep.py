"""Sweeps: what an axis is, each point a run of its own, and one table of all."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.evaluation.core.runner import RunFiles
from janusflow.evaluation.core.scores import Measurement, shares
from janusflow.evaluation.core.sweep import (
    Point,
    combinations,
    read_axes,
    run_sweep,
    save_sweep,
    sweep_as_json,
    table,
)
from janusflow.evaluation.core.tasks import Row, Task, ToAnswer, ToDraw
from janusflow.inference.drawing.sampling import DrawingSettings

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

    def answer(self, conversations: Sequence[Any], **_: Any) -> list[str]:
        raise AssertionError(conversations)


def score(rows: Sequence[Row]) -> list[Measurement]:
    mean = sum(row["guidance"] for row in rows) / len(rows)
    return [
        *shares([("drawn", row["right"]) for row in rows])[:1],
        Measurement(name="mean <guidance>", value=mean, num_items=len(rows), is_share=False),
    ]


def judge(_: Any, image: Image.Image) -> dict[str, Any]:
    guidance, steps, _blue = image.getpixel((0, 0))
    return {"right": steps > 9, "guidance": guidance}


TASK = Task(name="toy", protocol="None.", settings={}, items=ITEMS, judge=judge, score=score)


def sweep(model: Draws, *words: str, files: RunFiles | None = None) -> list[Point]:
    return run_sweep(
        TASK,
        lambda: model,
        name="m",
        axes=read_axes(words),
        drawing=DrawingSettings(steps=30),
        batch_size=4,
        files=files,
    )


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(report=tmp_path / "out.json")


def test_axes_are_drawing_settings_with_values_of_their_kind():
    words = "guidance=1,3@0.1-0.6", "steps=10, 30", "solver=euler,heun", "reuse=0", "best_of=1,4"
    axes = read_axes(words)
    assert axes == {
        "guidance": [1, "3@0.1-0.6"],
        "steps": [10, 30],
        "solver": ["euler", "heun"],
        "reuse": [0],
        "best_of": [1, 4],
    }
    assert read_axes(["steps=10,10,5"]) == {"steps": [10, 5]}
    found = combinations(axes, DrawingSettings(shift=3.0))
    assert len(found) == len(set(found)) == 16
    assert {each.shift for each in found} == {3.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["precision=float32"],
            "'precision' is no axis. Write AXIS=VALUE,VALUE once for each of: steps",
        ),
        (["shift"], "--sweep: shift is '': wanted a number"),
        (["guidance=2,3@0.6"], "guidance='3@0.6': wanted a weight such as 2"),
        (["reuse=0.1", "solver=heun"], "reuse=0.1 with solver=heun"),
        (["steps=10,ten"], "--sweep: steps is 'ten': wanted a whole number"),
        (["steps=10.5"], "--sweep: steps is 10.5: wanted a whole number"),
        (["shift=nan"], "shift=nan is outside"),
        (["steps=10", "steps=20"], "'steps' is there already"),
        (["steps=0"], "steps=0: at least 1"),
        (["best_of=0"], "best_of=0: at least 1"),
        (["solver=magic"], "solver='magic' is unknown"),
        (["solver=euler,dopri5", "numerics=parity"], "numerics=parity with solver=dopri5"),
    ],
)
def test_what_is_no_axis_or_no_value_is_said_before_a_model_is_loaded(
    words: list[str], message: str
):
    with pytest.raises(ConfigError, match=re.escape(message)):
        run_sweep(
            TASK,
            lambda: pytest.fail("loaded"),
            name="m",
            axes=read_axes(words),
            drawing=DrawingSettings(),
            batch_size=4,
        )


def test_a_task_that_draws_nothing_is_refused():
    asked = ToAnswer(id="a", kind="asked", image=Image.new("RGB", (4, 4)), question="?")
    task = Task(name="ask", protocol="", settings={}, items=[asked], judge=judge, score=score)
    with pytest.raises(ConfigError, match="--sweep steps: ask draws nothing"):
        run_sweep(
            task,
            lambda: pytest.fail("loaded"),
            name="m",
            axes={"steps": [1]},
            drawing=DrawingSettings(),
            batch_size=4,
        )


def test_every_combination_is_measured_once_with_its_own_settings():
    model = Draws()
    found = sweep(model, "guidance=1,3", "steps=5,10")
    assert model.made == [(1.0, 5), (1.0, 10), (3.0, 5), (3.0, 10)]
    assert [point.settings for point in found] == [
        {"guidance": guidance, "steps": steps} for guidance, steps in model.made
    ]
    assert [[s.value for s in point.report.scores] for point in found] == [
        [0.0, 1.0],
        [1.0, 1.0],
        [0.0, 3.0],
        [1.0, 3.0],
    ]


def test_a_sweep_that_was_cut_off_goes_on_and_more_values_draw_only_themselves(files: RunFiles):
    words = ("guidance=1,3", "steps=5,10")
    with pytest.raises(KeyboardInterrupt):
        sweep(Draws(budget=3), *words, files=files)
    rest = Draws()
    found = sweep(rest, *words, files=files)
    assert rest.made == [(3.0, 10)]
    whole = sweep(Draws(), *words)
    assert [point.report.scores for point in found] == [point.report.scores for point in whole]
    more = Draws()
    sweep(more, "guidance=1,3,7.5", "steps=5,10", files=files)
    assert more.made == [(7.5, 5), (7.5, 10)]


def test_points_keep_reports_and_the_table_lies_beside_them(files: RunFiles):
    found = sweep(Draws(), "guidance=1,2.5", "steps=5", files=files)
    save_sweep(found, files)
    content = json.loads(files.report.read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(sweep_as_json(found)))
    assert content["axes"] == {"guidance": [1.0, 2.5], "steps": [5]}
    for point, guidance in zip(content["points"], ("1", "2.5"), strict=True):
        assert point["report"] == f"out.sweep/guidance={guidance},steps=5.json"
        own = json.loads((files.report.parent / point["report"]).read_text(encoding="utf-8"))
        assert own["scores"] == point["scores"]
        assert own["settings"]["guidance"] == float(guidance)
        assert (files.report.parent / point["report"]).with_suffix(".html").is_file()
    assert files.report.with_suffix(".csv").read_text(encoding="utf-8").splitlines() == [
        "guidance,steps,drawn,mean <guidance>",
        "1.0,5,0.0,1.0",
        "2.5,5,0.0,2.0",
    ]


def test_the_table_has_a_column_for_each_point():
    lines = table(sweep(Draws(), "guidance=1,2.5", "steps=5,10")).splitlines()
    assert [line.split() for line in lines] == [
        ["guidance", "1", "1", "2.5", "2.5"],
        ["steps", "5", "10", "5", "10"],
        ["drawn", "0.0", "%", "100.0", "%", "0.0", "%", "100.0", "%"],
        ["mean", "<guidance>", "1.00", "1.00", "2.00", "2.00"],
    ]
    assert len({len(line) for line in lines}) == 1
