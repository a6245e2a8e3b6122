"""A mapped model computes as one that was read, and only what has run leaves its file."""

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from release_folder import release_settings, write_release_folder

from janusflow.config.errors import CheckpointError
from janusflow.inference.loading import load
from janusflow.inference.memory.first_use import mapped_model
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop import weight_files
from janusflow.interop.load import load_model
from janusflow.interop.vae import load_vae
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

TOKENS = torch.arange(7, 20)[None]


def read_whole(folder: Path) -> JanusFlow:
    """All weights in float32 before anything is done."""
    model = load_model(folder, dtype=torch.float32)
    return JanusFlow(
        model=model,
        processor=JanusFlowProcessor.from_pretrained(folder),
        vae=load_vae(model.config.vae, beside=folder, dtype=torch.float32),
        name=str(folder),
    )


def unread(model: JanusFlowForConditionalGeneration) -> set[str]:
    """Names of weights as they are stored."""
    return {name for name, weight in model.named_parameters() if weight.dtype != torch.float32}


def layers(model: JanusFlowForConditionalGeneration, start: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(start)}


@pytest.mark.parametrize("layout", ["mini", "single", "sharded-bin", "tied"])
def test_images_answers_and_logits_are_the_same_to_the_bit(
    stored_folders: dict[str, Path], layout: str
):
    found, wanted = load(stored_folders[layout], device="cpu"), read_whole(stored_folders[layout])
    assert unread(found.model)
    drawn, expected = (jf.generate(["별", "a star"], steps=2, seed=1) for jf in (found, wanted))
    assert [each.tobytes() for each in drawn] == [each.tobytes() for each in expected]
    answers = [jf.ask(drawn[0], "What is it?", max_new_tokens=4) for jf in (found, wanted)]
    assert answers[0] == answers[1]
    assert torch.equal(found.model(TOKENS).logits, wanted.model(TOKENS).logits)


@pytest.mark.parametrize("layout", ["mini", "single", "sharded-bin", "tied"])
def test_weights_that_have_not_run_have_their_values_all_the_same(
    stored_folders: dict[str, Path], layout: str
):
    found, wanted = (
        mapped_model(stored_folders[layout], torch.float32),
        load_model(stored_folders[layout]),
    )
    for name, weight in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name].float(), weight.float())


def test_weights_that_stay_share_one_mapping_of_a_file(
    stored_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    opened: list[Path] = []

    def counted(path: Path, **settings: str) -> Any:
        opened.append(path)
        return safe_open(path, **settings)

    safe_open = weight_files.safe_open
    monkeypatch.setattr(weight_files, "safe_open", counted)
    monkeypatch.setattr(weight_files, "REMAP_AFTER", 0)
    mapped_model(stored_folders["single"], torch.float32)
    assert len(opened) == 1
    load_model(stored_folders["single"])
    assert len(opened) > 10


def test_drawing_reads_neither_the_tower_nor_the_output_layer(stored_folders: dict[str, Path]):
    jf = load(stored_folders["single"], device="cpu")
    before = unread(jf.model)
    assert layers(jf.model, "llm.model.layers.") < before
    jf.generate("a star", steps=2, seed=0, plan="never")
    assert unread(jf.model) == {
        *layers(jf.model, "understanding_encoder.encoder.layers."),
        *layers(jf.model, "llm.lm_head"),
        *layers(jf.model, "llm.model.embed_tokens"),
    }
    (image,) = jf.generate("a star", steps=1, seed=0)
    jf.ask(image, "What?", max_new_tokens=2)
    assert unread(jf.model) == layers(jf.model, "llm.model.embed_tokens")


def test_seeing_reads_nothing_that_draws(stored_folders: dict[str, Path]):
    jf = load(stored_folders["mini"], device="cpu")
    (image,) = read_whole(stored_folders["mini"]).generate("a star", steps=1, seed=0)
    jf.ask(image, "What?", max_new_tokens=2)
    assert layers(jf.model, "generation_decoder.blocks") <= unread(jf.model)


def test_nothing_waits_where_files_have_the_dtype(stored_folders: dict[str, Path]):
    model = mapped_model(stored_folders["single"], torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    path = next(stored_folders["single"].glob("*.safetensors"))
    kept = path.read_bytes()
    try:  # what was copied does not change with its file
        path.write_bytes(bytes(len(kept)))
        assert torch.equal(model(TOKENS).logits, model(TOKENS).logits)
        assert model(TOKENS).logits.any()
    finally:
        path.write_bytes(kept)


def test_threads_that_need_a_layer_at_once_all_get_it(stored_folders: dict[str, Path]):
    expected = read_whole(stored_folders["single"]).model(TOKENS).logits
    for _ in range(5):
        model = load(stored_folders["single"], device="cpu").model
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda tokens, model=model: model(tokens).logits, [TOKENS] * 4))
        assert all(torch.equal(logits, expected) for logits in found)


def test_a_copy_of_a_mapped_model_stands_by_itself(stored_folders: dict[str, Path]):
    model = load(stored_folders["single"], device="cpu").model
    copied = copy.deepcopy(model)
    logits = copied(TOKENS).logits
    assert layers(model, "llm.model.layers.") < unread(model)
    assert torch.equal(model(TOKENS).logits, logits)


def test_a_dtype_that_is_changed_after_loading_is_the_models(stored_folders: dict[str, Path]):
    model = load(stored_folders["single"], device="cpu").model.bfloat16()
    expected = load_model(stored_folders["single"], dtype=torch.float32).bfloat16()
    assert torch.equal(model(TOKENS).logits, expected(TOKENS).logits)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_what_inference_has_converted_can_be_trained(stored_folders: dict[str, Path]):
    model = load(stored_folders["single"], device="cpu").model
    with torch.inference_mode():
        model(TOKENS)
    model(TOKENS).logits.sum().backward()
    assert model.llm.get_output_embeddings().weight.grad.abs().sum() > 0


def test_a_mapped_model_is_written_whole_in_its_dtype(
    stored_folders: dict[str, Path], tmp_path: Path
):
    load(stored_folders["single"], device="cpu").save_pretrained(tmp_path)
    written = load_model(tmp_path).state_dict()
    assert {weight.dtype for weight in written.values()} == {torch.float32}
    for name, weight in (
        load_model(stored_folders["single"], dtype=torch.float32).state_dict().items()
    ):
        assert torch.equal(written[name], weight)


def test_a_folder_that_is_none_is_refused_as_before(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        mapped_model(tmp_path, torch.float32)


# ---- memory -----------------------------------------------------------------------------------

# Mapped pages count as memory of the process (RssFile) until they are dropped.
MEASURE = """
import sys, torch
from pathlib import Path
from janusflow.inference.memory.first_use import mapped_model

def resident(which):
    status = Path("/proc/self/status").read_text()
    return int(status.partition(which + ":")[2].split()[0]) * 1024

def run(folder):
    model = mapped_model(Path(folder), torch.float32)
    loaded = resident("VmRSS")
    with torch.no_grad():
        model(torch.arange(7, 20)[None])
    return loaded, resident("RssFile")

run(sys.argv[1])
before, files = resident("VmRSS"), resident("RssFile")
loaded, used = run(sys.argv[2])
print(loaded - before, used - files, (Path(sys.argv[2]) / "model.safetensors").stat().st_size)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_loading_reads_little_and_pages_that_were_converted_leave_memory(
    stored_folders: dict[str, Path], tmp_path: Path
):
    settings = release_settings(llm_width=768, llm_layers=8, vocab_size=50_000)
    write_release_folder(
        tmp_path, settings=settings, make_weight=lambda _, shape: torch.ones(shape)
    )
    command = [sys.executable, "-c", MEASURE, str(stored_folders["single"]), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, used, size = map(int, done.stdout.split())
    assert size > 250e6
    assert loaded < 0.25 * size  # in float32: the tower's pooling head, patches, the drawing parts
    assert used < 0.1 * size
