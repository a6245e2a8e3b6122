"""transformers' Trainer and accelerate over a model of ours."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments

from janusflow import JanusFlowForConditionalGeneration
from janusflow.inference.pipeline import JanusFlow
from janusflow.model.prompt import Prompt

ANSWERS = [("What?", "a red circle"), ("What is this small thing?", "blue"), ("Who?", "a star")]


def trained(tiny: JanusFlow, folder: Path, *, attention: str, **settings: Any) -> list[float]:
    """Losses of a few steps on answers of unlike length."""
    model = copy.deepcopy(tiny.model)
    model.set_attn_implementation(attention)

    def collate(rows: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
        texts = [f"User: <image_placeholder>\n{q}\n\nAssistant: {a}" for q, a in rows]
        images = [Image.new("RGB", (64, 64), "red") for _ in rows]
        batch = dict(tiny.processor(text=texts, images=images))
        padded = batch["attention_mask"] == 0
        return batch | {"labels": batch["input_ids"].masked_fill(padded, -100)}

    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=3,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=True,
        **{"max_steps": 6, **settings},
    )
    rows: Any = ANSWERS
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
    trainer.train()
    return [each["loss"] for each in trainer.state.log_history if "loss" in each]


@pytest.mark.slow
def test_a_padded_batch_is_learnt_the_same_in_every_attention(tiny: JanusFlow, tmp_path: Path):
    default = trained(tiny, tmp_path, attention="sdpa")
    assert default[-1] < 0.8 * default[0]
    assert trained(tiny, tmp_path, attention="eager") == pytest.approx(default, rel=1e-3)


@pytest.mark.slow
def test_the_noise_of_neftune_reaches_the_embeddings(tiny: JanusFlow, tmp_path: Path):
    plain = trained(tiny, tmp_path, attention="sdpa", max_steps=2)
    none = trained(tiny, tmp_path, attention="sdpa", max_steps=2, neftune_noise_alpha=0.0)
    some = trained(tiny, tmp_path, attention="sdpa", max_steps=2, neftune_noise_alpha=5.0)
    assert none == plain
    assert abs(some[0] - plain[0]) > 1e-4


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match")
def test_what_does_not_fit_in_memory_is_read_from_disk(
    tiny: JanusFlow, tiny_folder: Path, tmp_path: Path
):
    model = JanusFlowForConditionalGeneration.from_pretrained(
        tiny_folder, device_map="auto", max_memory={"cpu": "150KB"}, offload_folder=tmp_path
    )
    assert set(model.hf_device_map.values()) == {"cpu", "disk"}
    inputs = tiny.processor(text="<image_placeholder> a", images=[Image.new("RGB", (64, 64))])
    drawn = torch.randn(1, 4, 8, 8), torch.tensor([0.5])
    prompt = Prompt(
        token_ids=torch.tensor([[0, 9, 10]]),
        attention_mask=torch.ones(1, 3, dtype=torch.long),
        position_ids=torch.arange(3)[None],
    )
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, tiny.model(**inputs).logits)
        assert torch.equal(model.velocity(*drawn, prompt), tiny.model.velocity(*drawn, prompt))
