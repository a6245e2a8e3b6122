"""One runner for all tasks: it goes on where it was cut off, and shows what was drawn."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from janusflow.config.errors import ConfigError, DataError, NotFiniteError
from janusflow.evaluation.core.report import save
from janusflow.evaluation.core.runner import (
    ALONE,
    ProcessInfo,
    Report,
    RunFiles,
    batches,
    fingerprint,
    run_task,
)
from janusflow.evaluation.core.scores import Measurement, shares
from janusflow.evaluation.core.tasks import Item, Row, Task, ToAnswer, ToDraw
from janusflow.inference.drawing.sampling import DrawingSettings

IMAGE = Image.new("RGB", (4, 4), "red")


def to_draw(index: int, *, seed: int | None = None) -> ToDraw:
    return ToDraw(
        id=f"d{index}", kind="drawn", prompt=f"<b>{index}", seed=index if seed is None else seed
    )


def to_answer(index: int, *, max_new_tokens: int = 8) -> ToAnswer:
    return ToAnswer(
        id=f"a{index}",
        kind="asked",
        image=IMAGE,
        question=f"{index}?",
        max_new_tokens=max_new_tokens,
    )


ITEMS: list[Item] = [*(to_draw(i) for i in range(5)), *(to_answer(i) for i in range(5))]


@dataclass
class Counting:
    """Counts what it is asked for, and may be cut off."""

    budget: int = 100
    made: list[str] = field(default_factory=list)

    def generate(self, prompt: Sequence[str], **_: Any) -> list[Image.Image]:
        self._spend(prompt)
        return [IMAGE for _ in prompt]

    def answer(self, conversations: Sequence[Sequence[Any]], **_: Any) -> list[str]:
        texts = [messages[-1]["content"][-1]["text"] for messages in conversations]
        assert all(m[0] == {"role": "system", "content": ""} for m in conversations)
        self._spend(texts)
        # A line separator, which is no end of a line here.
        return [f"to\u2028{text}" for text in texts]

    def _spend(self, texts: Sequence[str]) -> None:
        if len(texts) > self.budget:
            raise KeyboardInterrupt
        self.budget -= len(texts)
        self.made += texts


def toy(**settings: Any) -> Task:
    return Task(
        name="toy",
        protocol="None.",
        settings=settings,
        items=ITEMS,
        judge=lambda item, output: {"right": item.id != "d3", "why": f"<{item.id}>"},
        score=lambda rows: shares([(row["kind"], row["right"]) for row in rows]),
    )


def run(
    model: Counting, files: RunFiles | None, *, process: ProcessInfo = ALONE, **settings: Any
) -> Report:
    return run_task(
        toy(**settings),
        model,
        name="m",
        drawing=DrawingSettings(),
        batch_size=2,
        files=files,
        process=process,
    )


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(report=tmp_path / "out.json")


@pytest.mark.parametrize("budget", [0, 3, 7])
def test_a_run_that_was_cut_off_goes_on_and_ends_as_one_that_was_not(budget: int, files: RunFiles):
    cut = Counting(budget=budget)
    with pytest.raises(KeyboardInterrupt):
        run(cut, files)
    # Cut off while it wrote, too.
    with files.answers.open("a", encoding="utf-8") as file:
        file.write('{"id": "d')
    rest = Counting()
    report = run(rest, files)
    whole = Counting()
    wanted = run(whole, RunFiles(report=files.report.with_name("other.json")))
    assert cut.made + rest.made == whole.made
    assert report == wanted
    again = Counting(budget=0)
    assert run(again, files) == wanted


def test_rows_of_other_settings_are_refused_in_one_line(files: RunFiles):
    run(Counting(), files, level=1)
    with pytest.raises(ConfigError, match="level=1; this run has level=2") as refused:
        run(Counting(), files, level=2)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("damaged", ["nothing\n", '{"id": "d2", "kin'])
def test_a_line_that_was_damaged_or_left_unfinished_is_made_again(damaged: str, files: RunFiles):
    wanted = run(Counting(), files)
    lines = [f"{line}\n" for line in files.answers.read_text(encoding="utf-8").split("\n")[:-1]]
    place = 3 if damaged.endswith("\n") else len(lines) - 1
    gone = json.loads(lines[place])["id"]
    lines[place] = damaged
    files.answers.write_text("".join(lines), encoding="utf-8")
    again = Counting()
    assert run(again, files) == wanted
    assert again.made == [f"<b>{gone[1:]}" if gone.startswith("d") else f"{gone[1:]}?"]
    assert run(Counting(budget=0), files) == wanted


def test_the_report_and_the_page_hold_every_item_and_the_images_are_there(files: RunFiles):
    report = run(Counting(), files)
    save(report, files)
    content = json.loads(files.report.read_text(encoding="utf-8"))
    assert [row["id"] for row in content["items"]] == [item.id for item in ITEMS]
    assert {score["name"]: score["right"] for score in content["scores"]} == {
        "drawn": 4,
        "asked": 5,
        "all": 9,
    }
    assert content["versions"].keys() >= {"janusflow", "torch", "python"}
    page = files.page.read_text(encoding="utf-8")
    assert page.count("<figure>") == 5
    assert page.count('class="wrong"') == 1
    assert page.count("&lt;b&gt;3") == 2
    for row in content["items"][:5]:
        assert (files.images / row["image"]).is_file()
        assert f"{files.images.name}/{row['image']}" in page


def test_processes_share_the_items_and_one_of_them_sums_up(files: RunFiles):
    """Threads stand for them: each has a model of its own, and they meet at a barrier."""
    alone = Counting()
    wanted = run(alone, RunFiles(report=files.report.with_name("alone.json")))
    cut = Counting(budget=2)
    with pytest.raises(KeyboardInterrupt):
        run(cut, files)
    models, barrier = [Counting(), Counting()], Barrier(2)

    def work(number: int) -> Report:
        process = ProcessInfo(rank=number, world_size=2, barrier=lambda: barrier.wait(60) and None)
        return run(models[number], files, process=process)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == [wanted, replace(wanted, scores=[])]
    assert all(model.made for model in models)
    assert sorted(cut.made + models[0].made + models[1].made) == sorted(alone.made)
    # One process goes on from what several left.
    again = Counting(budget=0)
    assert run(again, files) == wanted
    assert not again.made


def test_processes_without_a_file_to_share_are_refused():
    with pytest.raises(ConfigError, match="got 2 processes and no --output"):
        run(Counting(), None, process=ProcessInfo(world_size=2))


def test_images_are_asked_about_as_soon_as_they_are_drawn(files: RunFiles):
    def ask(item: ToDraw, image: Image.Image) -> ToAnswer:
        assert image is IMAGE
        return replace(to_answer(0), id=f"{item.id}-then", question=f"{item.id}?")

    model = Counting()
    report = run_task(
        replace(toy(), follow_up=ask),
        model,
        name="m",
        drawing=DrawingSettings(),
        batch_size=4,
        files=files,
    )
    drawn, asked = ([f"<b>{i}" for i in some] for some in (range(4), range(4, 5)))
    first = [f"d{i}?" for i in range(4)]
    assert model.made[:10] == [*drawn, *first, *asked, "d4?"]
    assert [row.get("then", {}).get("answer") for row in report.rows] == [
        *(f"to\u2028d{i}?" for i in range(5)),
        *[None] * 5,
    ]
    save(report, files)
    assert files.page.read_text(encoding="utf-8").count("<q>to\u2028d") == 5


def test_the_page_shows_drawings_by_kind(files: RunFiles):
    items = [replace(to_draw(i), kind="even <0>" if i % 2 == 0 else "odd") for i in range(5)]
    report = run_task(
        replace(toy(), items=items), Counting(), name="m", drawing=DrawingSettings(), files=files
    )
    save(report, files)
    page = files.page.read_text(encoding="utf-8")
    even, odd = page.split("<h3>")[1:]
    assert even.startswith("even &lt;0&gt;</h3>")
    assert odd.startswith("odd</h3>")
    assert (even.count("<figure>"), odd.count("<figure>")) == (3, 2)


def test_what_sets_are_measured_by_is_computed_in_one_process_alone(files: RunFiles):
    summed: list[int] = []
    barrier = Barrier(2)

    def work(rank: int) -> Report:
        def score_set(rows: Sequence[Row], folder: Path) -> list[Measurement]:
            summed.append(rank)
            assert all((folder / row["image"]).is_file() for row in rows)
            return [Measurement(name="FID", value=1.0, num_items=len(rows))]

        process = ProcessInfo(rank=rank, world_size=2, barrier=lambda: barrier.wait(60) and None)
        task = replace(toy(), items=ITEMS[:5], score_set=score_set)
        return run_task(
            task,
            Counting(),
            name="m",
            drawing=DrawingSettings(),
            batch_size=2,
            files=files,
            process=process,
        )

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    assert summed == [0]
    assert [score.name for score in first.scores] == ["drawn", "all", "FID"]
    assert (second.scores, second.rows) == ([], first.rows)


def test_a_verdict_that_is_no_number_is_refused_by_its_item(files: RunFiles):
    def judge(item: Item, _: Any) -> dict[str, Any]:
        return {"clip": float("nan") if item.id == "d3" else 1.0}

    with pytest.raises(NotFiniteError, match="toy, d3: its judge gave clip=nan"):
        run_task(
            replace(toy(), judge=judge),
            Counting(),
            name="m",
            drawing=DrawingSettings(),
            batch_size=1,
            files=files,
        )
    # Nothing of it is kept, so that the same command tries it again.
    kept = files.answers.read_text(encoding="utf-8")
    assert '"d2"' in kept
    assert '"d3"' not in kept


def test_two_items_of_one_id_are_refused():
    with pytest.raises(DataError, match="got 2 items d0"):
        run_task(
            replace(toy(), items=[to_draw(0), to_draw(0)]),
            Counting(),
            name="m",
            drawing=DrawingSettings(),
        )


def test_other_weights_or_another_vae_have_another_fingerprint():
    network, vae = torch.nn.Linear(2, 2), torch.nn.Linear(1, 1)

    def now() -> str:
        return fingerprint(SimpleNamespace(model=network, vae=vae))

    seen = [now(), now()]
    for part in (network, vae):
        with torch.no_grad():
            next(part.parameters()).add_(1e-6)
        seen.append(now())
    assert len(set(seen)) == 3
    assert seen[0] == seen[1]


def test_without_a_place_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run(Counting(), None).scores[0].num_right == 4
    assert not list(tmp_path.iterdir())


def test_a_batch_is_what_one_call_can_take():
    """Images whose seeds are in a row, or questions with answers of one length."""
    items = [to_draw(0), to_draw(1), to_draw(2, seed=9), to_answer(3), to_answer(4)]
    items.append(to_answer(5, max_new_tokens=9))
    found = [[item.id for item in batch] for batch in batches(items, 50)]
    assert found == [["d0", "d1"], ["d2"], ["a3", "a4"], ["a5"]]
    assert [len(batch) for batch in batches([to_draw(i) for i in range(5)], 2)] == [2, 2, 1]


@pytest.mark.parametrize("name", ["nosuch/out.json", "out.txt"])
def test_a_place_where_nothing_can_be_written_is_refused(name: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=name):
        RunFiles(report=tmp_path / name).check()
