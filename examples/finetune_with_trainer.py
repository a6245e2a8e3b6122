"""Teach a model a new question with transformers' Trainer: mini learns what is round.

Trainer knows answers alone. To learn drawing as well, use `janusflow train` (docs/training.md).
"""

from typing import Any

import torch
from transformers import Trainer, TrainingArguments

import janusflow

QUESTION = "Is it round?"
IS_ROUND = {"circle": "yes", "square": "no", "ring": "yes", "triangle": "no"}

jf = janusflow.load("mini", device="cpu")
images = jf.generate([f"a red {shape}" for shape in IS_ROUND], seed=0, plan="never", steps=10)
rows: Any = list(zip(images, IS_ROUND.values(), strict=True))
unseen = jf.generate(["a blue circle", "a green square"], seed=100, plan="never", steps=10)
print("before:", jf.ask(unseen, [QUESTION] * len(unseen)))


def collate(batch: list[Any]) -> dict[str, torch.Tensor]:
    """Tokens and pixels of a batch; the labels are the answers' tokens, -100 elsewhere."""
    conversations = []
    for image, answer in batch:
        asked = [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]
        user = {"role": "user", "content": asked}
        conversations.append([user, {"role": "assistant", "content": answer}])
    inputs = jf.processor.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
    )
    is_answer = inputs.pop("assistant_masks").bool()
    return {**inputs, "labels": inputs["input_ids"].masked_fill(~is_answer, -100)}


arguments = TrainingArguments(
    output_dir="finetune",
    max_steps=10,
    per_device_train_batch_size=len(rows),
    learning_rate=3e-4,
    logging_steps=5,
    save_strategy="no",
    report_to=[],
    remove_unused_columns=False,  # collate reads them
    use_cpu=True,
)
Trainer(model=jf.model, args=arguments, train_dataset=rows, data_collator=collate).train()
jf.model.eval()
print("after:", jf.ask(unseen, [QUESTION] * len(unseen)))
jf.save_pretrained("finetune/model")  # janusflow ask ... --model finetune/model
