"""lmms-eval's own runner measures mini on a local task, and agrees with ours.

These need lmms-eval, which lives in an environment of its own: `make test-lmms`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import pytest
from PIL import Image

import janusflow
from janusflow.config.errors import ConfigError
from janusflow.evaluation.core.registry import LMMS_TASKS
from janusflow.evaluation.core.runner import run_task
from janusflow.evaluation.core.scores import shares
from janusflow.evaluation.core.tasks import NO_SYSTEM_PROMPT, Task
from janusflow.evaluation.shapes.prompts import questioned_scenes
from janusflow.evaluation.shapes.task import asked
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.mini.language.questions import Question

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        find_spec("lmms_eval") is None,
        reason="NOT TESTED WITH LMMS-EVAL: it is not installed here; run `make test-lmms`",
    ),
]

NUM_QUESTIONS, SEED = 12, 5
FUNCTIONS = """
def images(doc):
    return [doc["image"]]

def messages(doc):
    first, second = ({"type": "image", "url": doc[name]} for name in ("image", "other"))
    told = [{"type": "text", "text": text} for text in ("First", "Second", doc["question"])]
    return [{"role": "user", "content": [told[0], first, told[1], second, told[2]]}]

def verdict(doc, results):
    return {"right": float(results[0] == doc["answer"])}
"""
SHARED = """
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: question
output_type: generate_until
doc_to_target: answer
process_results: !function functions.verdict
metric_list: [{{metric: right, aggregation: mean, higher_is_better: true}}]
generation_kwargs: {{max_new_tokens: 96, temperature: 0.2, do_sample: false, until: [NEVER]}}
"""
TASKS = {
    "shapes_asked": SHARED + "doc_to_visual: !function functions.images\n",
    "shapes_in_pairs": SHARED + "doc_to_messages: !function functions.messages\n",
}


class Local(NamedTuple):
    """A folder of tasks, and the questions they ask, each with its image."""

    folder: Path
    questions: list[tuple[Image.Image, Question]]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Local:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("tasks")
    about = questioned_scenes(NUM_QUESTIONS, seed=SEED, size=64)
    rows = [
        {
            "image": image,
            "other": about[i - 1][0],
            "question": question.text,
            "answer": question.answer,
        }
        for i, (image, question) in enumerate(about)
    ]
    data = folder / "shapes.parquet"
    datasets.Dataset.from_list(rows).to_parquet(data)
    (folder / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    for name, content in TASKS.items():
        text = f"task: {name}\n{content.format(data=data)}"
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return Local(folder, about)


def run_lmms(local: Local, *tasks: str, launcher: Sequence[str] = ("-m",)) -> dict[str, Any]:
    """Every task's scores and its samples in the order of the questions."""
    out = Path(mkdtemp(dir=local.folder))
    command = [sys.executable, *launcher, "lmms_eval", "--model", "janusflow"]
    told = ["--model_args", "pretrained=mini,precision=float32", "--device", "cpu"]
    where = ["--include_path", str(local.folder), "--output_path", str(out), "--log_samples"]
    done = subprocess.run(
        [*command, *told, *where, "--tasks", ",".join(tasks), "--batch_size", "5"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(local.folder / "cache")},
        capture_output=True,
        text=True,
    )
    # Its exit status is 0 even where it failed.
    found = list(out.rglob("*results.json"))
    assert found, done.stderr[-3000:]
    scores = json.loads(found[0].read_text(encoding="utf-8"))["results"]
    return {task: (scores[task], read_samples(out, task)) for task in tasks}


def read_samples(out: Path, task: str) -> list[dict[str, Any]]:
    (path,) = out.rglob(f"*samples_{task}.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(rows, key=lambda row: row["doc_id"])


@pytest.fixture(scope="module")
def chat(local: Local) -> dict[str, Any]:
    return run_lmms(local, "shapes_asked", "shapes_in_pairs")


@pytest.mark.parametrize(
    "launcher",
    [
        ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"),
        ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m"),
    ],
    ids=["torchrun", "accelerate"],
)
def test_two_processes_share_the_requests_and_answer_as_one_does(
    local: Local, chat: dict[str, Any], launcher: tuple[str, ...]
):
    shared = run_lmms(local, "shapes_asked", launcher=launcher)
    scores, samples = shared["shapes_asked"]
    wanted_scores, wanted = chat["shapes_asked"]
    assert [sample["doc_id"] for sample in samples] == [sample["doc_id"] for sample in wanted]
    assert texts(samples) == texts(wanted)
    assert scores["right,none"] == wanted_scores["right,none"]


def test_benchmarks_that_janusflow_eval_names_are_tasks_that_the_plug_in_answers():
    import lmms_eval.tasks
    from lmms_eval.tasks import TaskManager

    known = TaskManager().all_tasks
    assert set(LMMS_TASKS.values()) <= set(known)
    folder = Path(lmms_eval.tasks.__path__[0])
    for name in LMMS_TASKS.values():
        (path,) = folder.rglob(f"{name}.yaml")
        text = path.read_text(encoding="utf-8")
        if include := re.search(r"^include: (\S+)$", text, flags=re.MULTILINE):
            text += path.with_name(include[1]).read_text(encoding="utf-8")
        assert re.search("^output_type: generate_until$", text, flags=re.MULTILINE), name


@pytest.fixture(scope="module")
def mini() -> janusflow.JanusFlow:
    return janusflow.load("mini", device="cpu", dtype="float32")


def texts(samples: list[dict[str, Any]]) -> list[str]:
    return [sample["filtered_resps"] for sample in samples]


def test_answers_and_accuracy_are_those_of_our_own_runner(
    local: Local, chat: dict[str, Any], mini: janusflow.JanusFlow
):
    items = [
        replace(asked(i, image, question), system_prompt=NO_SYSTEM_PROMPT)
        for i, (image, question) in enumerate(local.questions)
    ]
    task = Task(
        name="shapes_asked",
        protocol="The answer is the wanted one.",
        settings={},
        items=items,
        judge=lambda item, answer: {"right": answer == item.facts["wanted"]},
        score=lambda rows: shares([("all", row["right"]) for row in rows])[:1],
    )
    report = run_task(task, mini, name="mini", drawing=DrawingSettings())
    scores, samples = chat["shapes_asked"]
    assert texts(samples) == [row["answer"] for row in report.rows]
    assert scores["right,none"] == pytest.approx(report.scores[0].value)
    assert report.scores[0].value > 0.5


def test_each_of_several_images_is_shown_where_the_task_puts_it(
    local: Local, chat: dict[str, Any], mini: janusflow.JanusFlow
):
    pairs = [
        (image, local.questions[i - 1][0], question.text)
        for i, (image, question) in enumerate(local.questions)
    ]
    _, samples = chat["shapes_in_pairs"]
    assert texts(samples) == mini.answer(in_order(pairs), max_new_tokens=96)
    swapped = [(second, first, text) for first, second, text in pairs]
    assert texts(samples) != mini.answer(in_order(swapped), max_new_tokens=96)


def in_order(pairs: list[tuple[Image.Image, Image.Image, str]]) -> list[Any]:
    """Conversations as functions.py has them."""
    system = {"role": "system", "content": NO_SYSTEM_PROMPT}
    return [
        [
            system,
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "First"},
                    {"type": "image", "image": first},
                    {"type": "text", "text": "Second"},
                    {"type": "image", "image": second},
                    {"type": "text", "text": text},
                ],
            },
        ]
        for first, second, text in pairs
    ]


@pytest.mark.filterwarnings("ignore")
def test_what_the_plug_in_cannot_do_is_refused():
    from janusflow.evaluation.lmms.plugin import JanusFlowPlugin

    with pytest.raises(ConfigError, match="got precison, wanted pretrained, precision"):
        JanusFlowPlugin(precison="float32")
    with pytest.raises(ConfigError, match="--batch_size auto"):
        JanusFlowPlugin(batch_size="auto")
    plugin = JanusFlowPlugin(device="cpu")
    with pytest.raises(ConfigError, match="2 questions in several rounds"):
        plugin.generate_until_multi_round([None, None])
    with pytest.raises(ConfigError, match="1 answers to compare by likelihood"):
        plugin.loglikelihood([None])
