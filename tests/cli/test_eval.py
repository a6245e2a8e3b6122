"""`janusflow eval`: prints scores and keeps every verdict; mistakes are found before the work."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import janusflow
from janusflow.cli.main import build_app
from janusflow.evaluation.core import registry
from janusflow.evaluation.core.registry import LMMS_TASKS, TaskOptions
from janusflow.evaluation.shapes.prompts import CATEGORIES, shape_prompts
from janusflow.evaluation.shapes.task import SEEDS_APART
from janusflow.mini.scenes.render import render

SEED = 11


class Oracle:
    """Draws what is wished for; never knows an answer."""

    image_size = 64

    def generate(self, prompt: list[str], *, seed: int, **_: object) -> list[Image.Image]:
        number, first = divmod(seed - SEED, SEEDS_APART)
        asked = shape_prompts(CATEGORIES[number], first + len(prompt), seed=SEED)
        return [render(prompt.scene, size=64) for prompt in asked[first:]]

    def answer(self, conversations: list[object], **_: object) -> list[str]:
        return ["?" for _ in conversations]


def evaluate(*arguments: str) -> Result:
    app = build_app({"train": "janusflow.cli.train", "eval": "janusflow.cli.eval"})
    return CliRunner().invoke(app, ["eval", *arguments])


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janusflow, "load", lambda *_, **__: Oracle(), raising=False)


def test_a_quantized_model_is_another_model_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its answers must not go on from those of the full weights."""
    loaded: list[str | None] = []

    def load(_: str, *, quantize: str | None, adapter: list[str] | None) -> Oracle:
        assert not adapter
        loaded.append(quantize)
        return Oracle()

    monkeypatch.setattr(janusflow, "load", load, raising=False)
    out = tmp_path / "scores.json"
    few = ["--limit", "1", "--categories", "single", "--languages", "en"]
    result = evaluate("shapes", *few, "--quantize", "int8", "--output", str(out))
    assert result.exit_code == 0, result.output
    assert loaded == ["int8"]
    assert json.loads(out.read_text(encoding="utf-8"))["model"] == "mini, int8"


@pytest.mark.usefixtures("oracle")
def test_scores_are_printed_and_every_verdict_is_kept(tmp_path: Path):
    out = tmp_path / "scores.json"
    chosen = ["--limit", "2", "--categories", "position,single", "--solver", "heun"]
    result = evaluate("shapes", *chosen, "--seed", str(SEED), "--output", str(out))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    names = ["single en", "single ko", "position en", "position ko"]
    assert [line[:28].strip() for line in lines[:4]] == names
    assert all("100.0 %  (2/2, 95%" in line for line in lines[:4])
    assert any(line.startswith("questions ") and "0.0 %  (0/4, 95%" in line for line in lines)
    report = json.loads(out.read_text(encoding="utf-8"))
    verdicts = [item["right"] for item in report["items"]]
    assert verdicts == [True] * 8 + [False] * 4
    settings = report["settings"]
    assert (report["model"], settings["seed"], settings["solver"]) == ("mini", SEED, "heun")
    assert [score["items"] for score in report["scores"][:4]] == [2, 2, 2, 2]


def test_a_wrong_line_of_a_benchmarks_file_is_named_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(janusflow, "load", lambda *_, **__: pytest.fail("loaded"))
    data = tmp_path / "evaluation_metadata.jsonl"
    data.write_text("{}\n", encoding="utf-8")
    result = evaluate("geneval", "--data", str(data))
    assert result.exit_code == 1
    assert "evaluation_metadata.jsonl, line 1: got nothing, wanted tag" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("task", "theirs"), LMMS_TASKS.items())
def test_a_benchmark_of_understanding_is_answered_with_lmms_evals_command(task: str, theirs: str):
    result = evaluate(task, "--limit", "5")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {task} is measured by lmms-eval")
    assert result.stderr.endswith(
        f"python -m lmms_eval --model janusflow --model_args pretrained=MODEL --tasks {theirs}\n"
    )
    assert result.stderr.count("\n") == 1


def test_the_task_and_its_judge_are_opened_where_this_process_has_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch,
):
    """Of several processes each has taken its GPU by then, and nothing lands on the first one."""
    called: list[str] = []

    @contextmanager
    def process_group() -> Iterator[None]:
        called.append("set_device")
        yield
        called.append("left")

    def load(*_: object, **__: object) -> Oracle:
        called.append("model loaded")
        return Oracle()

    def open_task(name: str, options: TaskOptions) -> Any:
        called.append("judge opened")
        return registry_open_task(name, options)

    registry_open_task = registry.open_task
    monkeypatch.setattr("janusflow.training.engine.distributed.process_group", process_group)
    monkeypatch.setattr(registry, "open_task", open_task)
    monkeypatch.setattr(janusflow, "load", load, raising=False)
    few = ["--limit", "1", "--categories", "single", "--languages", "en"]
    assert evaluate("shapes", *few).exit_code == 0
    assert called == ["set_device", "judge opened", "model loaded", "left"]


@pytest.mark.usefixtures("oracle")
def test_the_same_command_goes_on_and_one_with_other_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = ["--seed", str(SEED), "--output", str(tmp_path / "scores.json"), "--categories", "single"]
    assert evaluate("shapes", "--limit", "2", *out).exit_code == 0
    first = (tmp_path / "scores.json").read_text(encoding="utf-8")
    monkeypatch.setattr(Oracle, "generate", lambda *_, **__: pytest.fail("drew again"))
    assert evaluate("shapes", "--limit", "2", *out).exit_code == 0
    assert (tmp_path / "scores.json").read_text(encoding="utf-8") == first
    result = evaluate("shapes", "--limit", "2", "--steps", "9", *out)
    assert result.exit_code == 1
    assert "steps=30" in result.stderr
    assert "steps=9" in result.stderr
    assert result.stderr.rstrip().count("\n") == 0


def test_judged_images_are_scored_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(janusflow, "load", lambda *_, **__: pytest.fail("loaded"))
    results = tmp_path / "results.jsonl"
    told = {"tag": "counting", "prompt": "two dogs", "correct": True, "reason": ""}
    lines = [{"filename": f"out/00000/samples/000{i}.png", **told} for i in range(4)]
    results.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    result = evaluate("geneval", "--judge", str(results))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split()[:3] == ["overall", "100.0", "%"]
    refused = evaluate("shapes", "--features-sha256", "0")
    assert refused.exit_code == 1
    assert "shapes has no use for --features-sha256 0" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["paint"],
        [],
        ["shapes", "--limit", "0"],
        ["shapes", "--seed", "-1"],
        ["shapes", "--solver", "newton"],
    ],
)
def test_wrong_usage_exits_with_2_and_no_traceback(arguments: list[str]):
    result = evaluate(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("oracle")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shapes", "--categories", "two,three"], "'three' is none of single, two, counting"),
        (["dpg", "--languages", "ko"], "dpg has no use for --languages ko"),
    ],
)
def test_what_a_task_cannot_take_is_one_line_and_exit_code_1(arguments: list[str], said: str):
    result = evaluate(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unknown_task_is_answered_with_the_known_ones():
    result = evaluate("paint")
    assert "paint" in result.stderr
    assert "shapes" in result.stderr
    assert "easy-vqa" in result.stderr


def test_an_unknown_model_is_one_line_and_exit_code_1(tmp_path: Path):
    result = evaluate("shapes", "--model", str(tmp_path / "nosuch"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "nosuch" in result.stderr


@pytest.mark.usefixtures("oracle")
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(janusflow, "load", lambda *_, **__: pytest.fail("worked"))
    result = evaluate("shapes", "--output", str(tmp_path / "nosuch" / "scores.json"))
    assert result.exit_code == 1
    assert "nosuch" in result.stderr
    assert result.stderr.count("\n") == 1
