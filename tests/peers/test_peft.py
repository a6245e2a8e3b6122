"""peft's adapters over both halves of a model, saved, loaded and merged."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.integrations.peft as integration
from packaging.version import Version
from peft import LoraConfig, PeftModel, get_peft_model
from peft import __version__ as peft_version
from PIL import Image

import janusflow
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt

# Of peft: about a name of transformers', and that it saves embeddings it adapts.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`"),
]
BOTH_HALVES = (
    r"llm\..*(q_proj|k_proj|v_proj|o_proj)|.*aligner|"
    r"generation_decoder\.(unpatchify|blocks\.\d+\.(expand|project))|"
    r"generation_encoder\.(patchify|blocks\.\d+\.(expand|project))"
)
CONFIGS = {
    "both-halves": {"target_modules": BOTH_HALVES},
    "causal-lm": {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"},
    "all-linear": {"target_modules": "all-linear"},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
    "embeddings": {"target_modules": ["embed_tokens", "lm_head"]},
    "modules-to-save": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["understanding_aligner", "generation_decoder_aligner"],
    },
}


def outputs(model: Any, tiny: JanusFlow) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of an answer, and a velocity: through the adapters, whatever wraps the model."""
    inputs = tiny.processor(text="<image_placeholder> red", images=[Image.new("RGB", (64, 64))])
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(1, 4, 8, 8, generator=generator)
    prompt = Prompt(
        token_ids=torch.tensor([[0, 9, 10]]),
        attention_mask=torch.ones(1, 3, dtype=torch.long),
        position_ids=torch.arange(3)[None],
    )
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    return loss, model.velocity(x_t, torch.tensor([0.5]), prompt)


def close(found: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))


@pytest.fixture
def model(tiny: JanusFlow) -> JanusFlowForConditionalGeneration:
    return copy.deepcopy(tiny.model)


@pytest.mark.parametrize("name", CONFIGS)
def test_adapters_learn_and_are_saved_loaded_and_merged(
    tiny: JanusFlow, model: JanusFlowForConditionalGeneration, name: str, tmp_path: Path
):
    adapted = get_peft_model(model, LoraConfig(r=4, **CONFIGS[name]))
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    before = outputs(adapted, tiny)[0].item()
    for _ in range(3):
        loss, velocity = outputs(adapted, tiny)
        (loss + velocity.square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.eval()
    with torch.no_grad():
        wanted = outputs(adapted, tiny)
        assert wanted[0] < before
        adapted.save_pretrained(tmp_path)
        again = PeftModel.from_pretrained(copy.deepcopy(tiny.model), tmp_path).eval()
        assert close(outputs(again, tiny), wanted)
        assert close(outputs(again.merge_and_unload(), tiny), wanted)


@pytest.mark.skipif(
    Version(peft_version) < Version(integration.MIN_PEFT_VERSION),
    reason=f"transformers wants peft {integration.MIN_PEFT_VERSION}, this is {peft_version}",
)
def test_transformers_own_adapters_are_saved_and_loaded(
    tiny: JanusFlow, model: JanusFlowForConditionalGeneration, tmp_path: Path
):
    config = LoraConfig(r=4, target_modules=BOTH_HALVES, init_lora_weights=False)
    model.add_adapter(config, adapter_name="mine")
    with torch.no_grad():
        wanted = outputs(model, tiny)
        model.save_pretrained(tmp_path)
        again = copy.deepcopy(tiny.model)
        again.load_adapter(str(tmp_path), adapter_name="mine")
        assert close(outputs(again, tiny), wanted)
        again.disable_adapters()
        assert close(outputs(again, tiny), outputs(tiny.model, tiny))


def test_adapters_stay_float32_on_a_bfloat16_model():
    model = janusflow.load("mini", device="cpu", dtype="bfloat16").model
    config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    adapters = {n: p for n, p in get_peft_model(model, config).named_parameters() if "lora_" in n}
    aliases = {name: adapter.detach() for name, adapter in adapters.items()}
    copies = {name: adapter.detach().clone() for name, adapter in adapters.items()}
    with torch.no_grad():
        model(torch.arange(7, 20)[None])
    assert {adapter.dtype for adapter in adapters.values()} == {torch.float32}
    assert all(torch.equal(aliases[name], copies[name]) for name in adapters)


def test_a_snapshot_of_the_weights_is_left_alone():
    model = janusflow.load("mini", device="cpu", dtype="bfloat16").model
    snapshot = model.state_dict()
    copies = {name: weight.clone() for name, weight in snapshot.items()}
    with torch.no_grad():
        model(torch.arange(7, 20)[None])
    assert {weight.dtype for weight in snapshot.values()} == {torch.bfloat16}
    assert all(torch.equal(snapshot[name], copies[name]) for name in copies)
