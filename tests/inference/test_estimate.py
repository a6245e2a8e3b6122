"""What inference takes, against closed forms, real runs and the release's sizes."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import padded_prompt, save_tiny, tiny_model, tiny_vae
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.gpus import find_gpu
from janusflow.inference.estimate import InferenceCost, Workload, estimate
from janusflow.model.prompt import with_unconditional

FLOAT = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def release() -> InferenceCost:
    """Of an answer."""
    return cost("janusflow-1.3b", task="ask", dtype="bfloat16")


@cache
def cost(name: str, **settings: Any) -> InferenceCost:
    workload = Workload(**({"dtype": "float32"} | settings))
    return estimate(name, workload)


def test_weights_are_the_models_and_the_vaes_in_the_dtype(folder: str):
    parts = (tiny_model(), tiny_vae())
    number = sum(p.numel() for part in parts for p in part.parameters())
    assert cost(folder).memory["weights"] == FLOAT * number
    assert cost(folder, dtype="bfloat16").memory["weights"] == FLOAT * number / 2


@pytest.mark.parametrize(("guidance", "rows"), [(2.0, 2), (1.0, 1)])
def test_the_cache_holds_a_key_and_a_value_a_token_a_block_and_a_row(
    folder: str, guidance: float, rows: int
):
    llm = tiny_model().config.llm_config
    token = 2 * llm.num_hidden_layers * llm.num_key_value_heads * llm.head_dim * FLOAT
    drawn = cost(folder, batch=3, prompt_tokens=20, guidance=guidance)
    assert drawn.memory["cache"] == 3 * rows * 20 * token
    asked = cost(folder, task="ask", batch=3, prompt_tokens=20, answer_tokens=10)
    assert asked.memory["cache"] == 3 * (1 + 1 + 16 + 1 + 20 + 10) * token


def test_a_solver_step_is_what_a_real_one_takes(folder: str):
    """Counted on real weights by torch's counter, which sees attention in its unfused form only."""
    model = tiny_model()
    prompts = padded_prompt([[7] * 20] * 2, pad_token_id=2)
    read = model.encode_prompt(with_unconditional(prompts))
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter, torch.no_grad():
        model.velocity(torch.zeros(4, 4, 8, 8), torch.zeros(4), read)
    work = cost(folder, batch=2, prompt_tokens=20, steps=7).work["solver step"]
    assert (work.flops, work.times) == (counter.get_total_flops(), 7)


def test_a_token_reads_the_llms_weights_once_and_no_table_of_embeddings(folder: str):
    asked = cost(folder, task="ask", answer_tokens=10)
    llm = tiny_model().llm
    table = llm.get_input_embeddings().weight.nbytes
    whole = asked.memory["cache"]
    cache = whole - 5 * whole // (1 + 1 + 16 + 1 + 64 + 10)  # at the answer's middle
    weights = sum(p.nbytes for p in llm.parameters()) - table
    assert asked.work["answer token"].read_bytes == weights + cache
    assert asked.work["answer token"].times == 10


def test_a_pass_takes_the_longer_of_computing_and_reading(release: InferenceCost):
    gpu = find_gpu("a100")
    for work in release.work.values():
        computing = work.flops / (1e12 * gpu.bf16_tflops)
        reading = work.read_bytes / (1e9 * gpu.bandwidth_gb_s)
        assert work.seconds == max(computing, reading)
    token = release.work["answer token"]
    assert token.seconds == token.read_bytes / (1e9 * gpu.bandwidth_gb_s)
    assert release.seconds == pytest.approx(sum(w.times * w.seconds for w in release.work.values()))


def test_the_release_is_known_without_its_files(release: InferenceCost):
    assert release.memory["weights"] == 2 * (2_046_367_504 + 83_653_863)
    assert release.memory["cache"] == (1 + 1 + 576 + 1 + 64 + 64) * 2 * 24 * 2048 * 2
    assert any("without its files" in note for note in release.notes)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("generate", {"batch": 2}),
        ("generate", {"steps": 60}),
        ("generate", {"prompt_tokens": 500}),
        ("generate", {"guidance": 1.0}),
        ("generate", {"gpu": "h100"}),
        ("generate", {"dtype": "bfloat16"}),
        ("ask", {"batch": 2}),
        ("ask", {"prompt_tokens": 500}),
        ("ask", {"answer_tokens": 128}),
    ],
)
def test_every_setting_changes_the_time(folder: str, task: str, changes: dict[str, Any]):
    plain, changed = cost(folder, task=task), cost(folder, task=task, **changes)
    assert changed.seconds != plain.seconds


def test_activations_grow_with_the_batch(folder: str):
    one, four = (cost(folder, batch=batch).memory["activations"] for batch in (1, 4))
    assert four == pytest.approx(4 * one, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"task": "paint"}, "task='paint'"),
        ({"dtype": "float8"}, "dtype='float8'"),
        ({"batch": 0}, "batch=0"),
        ({"steps": 0}, "steps=0"),
        ({"gpu": "zx81"}, "gpu='zx81'"),
    ],
)
def test_a_workload_that_cannot_be_meant_is_refused(settings: dict[str, Any], told: str):
    with pytest.raises(ConfigError, match=told):
        replace(Workload(), **settings)


def test_a_model_that_is_not_at_hand_is_refused_and_not_downloaded(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no config"):
        estimate(str(tmp_path / "nowhere"), Workload())
