"""Offloaded models compute the same to the bit, load only what runs, and hold as little as said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from release_folder import write_release_folder
from tiny_model import qwen3_model, tiny_processor, tiny_vae
from torch import Tensor, nn

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference.loading import load
from janusflow.inference.memory.offload import MODES, blocks_of
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.saving import write_folder

STEPS = 3


@pytest.fixture(scope="session")
def folders(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | Path]:
    """The embedded model (float16 files), our layout, the release's, and tied embeddings."""
    root = tmp_path_factory.mktemp("offloaded")
    write_release_folder(root / "release")
    tiny_vae().save_pretrained(root / "release" / "vae")
    write_folder(root / "tied", model=qwen3_model(), processor=tiny_processor(), vae=tiny_vae())
    return {
        "mini": "mini",
        "ours": tiny_folder,
        "release": root / "release",
        "tied": root / "tied",
    }


def all_it_does(jf: JanusFlow) -> tuple[list[bytes], str | list[str], Tensor]:
    """Images from words and from an image, an answer about one of them, and logits."""
    drawn = jf.generate(["별", "a red circle"], steps=2, seed=1)
    redrawn = jf.generate("a star", steps=2, seed=1, init_image=drawn[0], strength=0.5)
    answer = jf.ask(drawn[0], "What is it?", max_new_tokens=4)
    logits = jf.model(torch.arange(7, 20)[None]).logits
    return [image.tobytes() for image in drawn + redrawn], answer, logits


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["mini", "ours", "release", "tied"])
def test_images_answers_and_logits_are_the_same_to_the_bit(
    folders: dict[str, str | Path], layout: str
):
    images, answer, logits = all_it_does(load(folders[layout], device="cpu"))
    for mode in MODES:
        again = all_it_does(load(folders[layout], device="cpu", offload=mode))
        assert again[:2] == (images, answer)
        assert torch.equal(again[2], logits)


def test_weights_of_another_dtype_are_converted_as_when_loaded_whole(tiny_folder: Path):
    tokens = torch.arange(7, 20)[None]
    whole, offloaded = (
        load(tiny_folder, device="cpu", dtype="bfloat16", offload=offload).model
        for offload in (None, "blocks")
    )
    assert offloaded.dtype == torch.bfloat16
    assert torch.equal(offloaded(tokens).logits, whole(tokens).logits)


@pytest.mark.parametrize("layout", ["mini", "ours", "release", "tied"])
def test_every_weight_is_in_one_block_or_stays(folders: dict[str, str | Path], layout: str):
    model = load(folders[layout], device="cpu").model
    blocks = dict(blocks_of(model))
    owned = [weight for block in blocks.values() for weight in block.parameters()]
    owned.append(model.begin_of_understanding)
    num_tied = len(model.all_tied_weights_keys)
    assert len({id(weight) for weight in owned}) == len(owned) - num_tied
    assert {id(weight) for weight in owned} == {id(weight) for weight in model.parameters()}


# ---- how often --------------------------------------------------------------------------------


def loads(jf: JanusFlow, start: str) -> set[int]:
    """How often the units under a name were loaded."""
    assert jf.offloading is not None
    names = [name for name, _ in blocks_of(jf.model) if name.startswith(start)]
    assert names
    return {jf.offloading.loads[name] for name in names}


def test_a_drawing_loads_each_block_once_a_step_and_nothing_that_sees(tiny_folder: Path):
    jf = load(tiny_folder, device="cpu", offload="blocks")
    jf.generate("a star", steps=STEPS, seed=0)
    assert jf.offloading is not None
    assert loads(jf, "llm.model.embed_tokens") == {1}
    assert loads(jf, "llm.model.layers.") == {1 + STEPS}
    assert loads(jf, "llm.lm_head") == {0}
    assert loads(jf, "generation_") == {STEPS}
    assert loads(jf, "understanding_") == {0}
    assert (jf.offloading.loads["encoder"], jf.offloading.loads["decoder"]) == (0, 1)


def test_an_answer_loads_each_block_once_a_token_and_nothing_that_draws(tiny_folder: Path):
    jf = load(tiny_folder, device="cpu", offload="blocks")
    image = Image.new("RGB", (64, 64), "red")
    settings = {"max_new_tokens": STEPS, "temperature": 1.0, "seed": 0}
    jf.ask(image, "What?", **settings)
    assert loads(jf, "llm.model.layers.") == loads(jf, "llm.lm_head") == {STEPS}
    assert loads(jf, "understanding_encoder.encoder.") == {1}
    assert loads(jf, "generation_") == {0}


def test_parts_are_loaded_once_however_many_steps_and_tokens(tiny_folder: Path):
    jf = load(tiny_folder, device="cpu", offload="parts")
    (image,) = jf.generate("a star", steps=STEPS, seed=0)
    assert loads(jf, "llm.model.") == loads(jf, "generation_") == {1}
    assert loads(jf, "llm.lm_head") == loads(jf, "understanding_") == {0}
    jf.ask(image, "What?", max_new_tokens=STEPS)
    assert loads(jf, "llm.model.layers.") == {2}  # the VAE came between
    assert loads(jf, "llm.lm_head") == loads(jf, "understanding_encoder.encoder.") == {1}
    jf.ask(None, "What?", max_new_tokens=STEPS)
    assert loads(jf, "llm.model.layers.") == {2}


# ---- how much ---------------------------------------------------------------------------------


class Watch:
    """Weights in memory, of model and VAE, whenever any module runs."""

    def __init__(self, jf: JanusFlow) -> None:
        self.roots: list[nn.Module] = [jf.model, jf.vae]
        self.most = 0
        for root in self.roots:
            for module in root.modules():
                module.register_forward_hook(self)

    def __call__(self, *_: object) -> None:
        self.most = max(self.most, self.now())

    def now(self) -> int:
        """A placeholder's storage is smaller than what it stands for."""
        weights = [weight for root in self.roots for weight in root.parameters()]
        return sum(w.numel() for w in weights if w.untyped_storage().nbytes() >= w.nbytes)


def sizes(jf: JanusFlow) -> Iterator[tuple[str, int]]:
    vae: nn.Module = jf.vae
    halves = [("vae.encoder", vae.encoder), ("vae.decoder", vae.decoder)]
    for name, module in [*blocks_of(jf.model), *halves]:
        yield name, sum(weight.numel() for weight in module.parameters())


def what_stays(jf: JanusFlow) -> int:
    """What belongs to no block: an image's first embedding, and two small convolutions."""
    total = sum(weight.numel() for root in (jf.model, jf.vae) for weight in root.parameters())
    return total - sum(size for _, size in sizes(jf))


@pytest.mark.parametrize("layout", ["mini", "ours"])
def test_blocks_hold_the_largest_block_at_most(folders: dict[str, str | Path], layout: str):
    jf = load(folders[layout], device="cpu", offload="blocks")
    watch = Watch(jf)
    assert watch.now() == what_stays(jf)
    all_it_does(jf)
    assert watch.most == what_stays(jf) + max(size for _, size in sizes(jf))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["mini", "ours"])
def test_parts_hold_what_runs_together_at_most(folders: dict[str, str | Path], layout: str):
    jf = load(folders[layout], device="cpu", offload="parts")

    def of(*starts: str) -> int:
        return sum(size for name, size in sizes(jf) if name.startswith(starts))

    watch, stays = Watch(jf), what_stays(jf)
    assert watch.now() == stays
    jf.generate("a star", steps=1, seed=0, plan="never")
    body = of("llm.") - of("llm.lm_head", "llm.model.embed_tokens")
    prompts, drawing = body + of("llm.model.embed_tokens"), body + of("generation_")
    assert watch.most == stays + max(prompts, drawing, of("vae.decoder"))
    all_it_does(jf)
    assert watch.most == stays + max(of("llm."), drawing, of("understanding_"), of("vae."))


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"offload": "layers"}, "offload='layers'"),
        ({"offload": "blocks", "quantize": "int8"}, "quantize='int8'"),
        ({"offload": "parts", "compile": True}, "compile=True"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_read(wrong: dict, named: str):
    with pytest.raises(ConfigError, match=named):
        load("./nowhere", device="cpu", **wrong)


def test_an_offloaded_model_is_not_saved(tiny_folder: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="offloaded"):
        load(tiny_folder, device="cpu", offload="blocks").save_pretrained(tmp_path)
