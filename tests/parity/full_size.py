"""The whole 1.3B network with the recipe's weights: one velocity, one question. Needs 9 GB."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from check import EXACT, FLOAT32, Check, Measure, error, mismatch, summary_error
from drawing import TIME_SCALE
from reference import REPOSITORY, Reference
from torch import Tensor, nn

from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt, with_unconditional
from janusflow.processing.images import JanusFlowImageProcessor

RESULT = REPOSITORY / "benchmarks" / "results" / "full-size-parity.md"


class FullSize:
    """Everything that is compared, computed once."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.recorded: dict[str, Any] = reference.json("full_size.json")
        self.wanted = reference.tensors("full_size")
        self.seconds: dict[str, float] = {}
        asked = self.recorded["understanding"]
        self.token_ids = {
            "image_token_id": asked["image_id"],
            "image_start_token_id": asked["begin_of_image_id"],
            "image_end_token_id": asked["end_of_image_id"],
        }

    def run(self) -> dict[str, Tensor]:
        model = self._timed("build and fill", self._model)
        drawn = self._timed("velocity, two rows", lambda: self._draw(model))
        seen = self._timed("tower", lambda: self._see(model))
        answered = self._timed("question", lambda: self._answer(model, seen["tower"]))
        return {**drawn, **seen, **answered}

    def _timed(self, name: str, work: Any) -> Any:
        started = time.perf_counter()
        with torch.no_grad():
            result = work()
        self.seconds[name] = time.perf_counter() - started
        return result

    def _model(self) -> JanusFlowForConditionalGeneration:
        settings = self.reference.json("official_config.json")
        return self.reference.model(settings, self.token_ids)

    def _draw(self, model: JanusFlowForConditionalGeneration) -> dict[str, Tensor]:
        facts = self.recorded["velocity"]
        ids = torch.tensor(facts["prompt_ids"])[None, :-1]
        prompt = Prompt(
            token_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=torch.arange(ids.shape[1])[None],
        )
        both = with_unconditional(prompt)
        noise = self.reference.array("z_full", (1, 4, 48, 48)).expand(2, -1, -1, -1)
        seen: dict[str, Tensor] = {}

        def keep(name: str, index: int | None = None) -> Any:
            def hook(module: nn.Module, args: tuple, output: Any) -> None:
                seen[name] = output if index is None else output[index]

            return hook

        hooks = [
            model.generation_encoder.register_forward_hook(keep("x_emb", 0)),
            model.generation_encoder.time_embedding.register_forward_hook(keep("t_emb")),
            model.llm.base_model.register_forward_hook(keep("llm_hidden", 0)),
            model.generation_decoder_aligner.register_forward_hook(keep("dec_aligner_out")),
        ]
        seen["v"] = model.velocity(noise, torch.full((2,), facts["t"] / TIME_SCALE), both)
        for hook in hooks:
            hook.remove()
        return seen

    def _see(self, model: JanusFlowForConditionalGeneration) -> dict[str, Tensor]:
        size = model.config.vision_config.image_size
        image = self.reference.image(self.recorded["understanding"]["image"])
        pixels = JanusFlowImageProcessor(image_size=size).preprocess(image).pixel_values
        return {"pixel_values": pixels, "tower": model.understanding_features(pixels)}

    def _answer(self, model: JanusFlowForConditionalGeneration, tower: Tensor) -> dict[str, Tensor]:
        ids = torch.tensor([self._expanded(tower.shape[1])])
        image = self.reference.image(self.recorded["understanding"]["image"])
        size = model.config.vision_config.image_size
        pixels = JanusFlowImageProcessor(image_size=size).preprocess(image).pixel_values
        embeds = model.embed_conversation(ids, pixels)
        logits = model(inputs_embeds=embeds).logits[0, -1]
        return {"inputs_embeds": embeds, "logits": logits}

    def _expanded(self, num_patches: int) -> list[int]:
        ids = self.token_ids
        tag = ids["image_token_id"]
        image = [ids["image_start_token_id"], *[tag] * num_patches, ids["image_end_token_id"]]
        expanded: list[int] = []
        for token in self.recorded["understanding"]["prompt_ids_before_expansion"]:
            expanded += image if token == tag else [token]
        return expanded


def full_size_checks(full_size: FullSize, got: dict[str, Tensor]) -> list[Check]:
    return [*_drawn_checks(full_size, got), *_asked_checks(full_size, got)]


def _check(quantity: str, measure: Measure, tolerance: float = FLOAT32) -> Check:
    return Check(group="full_size", quantity=quantity, tolerance=tolerance, measure=measure)


def _summaries(facts: dict[str, Any], **tensors: Tensor) -> list[Check]:
    return [
        _check(f"{name}, whole", lambda name=name, x=x: summary_error(x, facts[name]))
        for name, x in tensors.items()
    ]


def _drawn_checks(full_size: FullSize, got: dict[str, Tensor]) -> list[Check]:
    drawn, wanted = full_size.recorded["velocity"], full_size.wanted
    return [
        _check("velocity", lambda: error(got["v"], wanted["v"])),
        *_summaries(
            drawn,
            v=got["v"],
            v_cond=got["v"][0],
            v_uncond=got["v"][1],
            x_emb=got["x_emb"],
            t_emb=got["t_emb"],
            llm_hidden_cond=got["llm_hidden"][0],
            llm_hidden_last_token=got["llm_hidden"][:, -1],
            dec_aligner_out=got["dec_aligner_out"],
        ),
        _check(
            "LLM output, crop",
            lambda: error(got["llm_hidden"][:, ::48, ::16], wanted["llm_hidden_every48_every16"]),
        ),
    ]


def _asked_checks(full_size: FullSize, got: dict[str, Tensor]) -> list[Check]:
    asked, wanted, logits = full_size.recorded["understanding"], full_size.wanted, got["logits"]
    return [
        _check(
            "tower, crop",
            lambda: error(got["tower"][:, ::16, ::16], wanted["tower_every16_every16"]),
        ),
        *_summaries(
            asked,
            pixel_values=got["pixel_values"],
            tower=got["tower"],
            inputs_embeds=got["inputs_embeds"],
            logits_check=logits,
        ),
        _check(
            "length of the question",
            lambda: mismatch(got["inputs_embeds"].shape[1], asked["expanded_length"]),
            EXACT,
        ),
        _check(
            "last logits, every 16th", lambda: error(logits[::16], wanted["last_logits_every16"])
        ),
        _check(
            "last logits, 16 of them",
            lambda: error(logits[asked["logit_indices"]], torch.tensor(asked["logits"])),
        ),
        _check(
            "five likeliest tokens",
            lambda: mismatch(logits.topk(5).indices.tolist(), asked["top5_ids"]),
            EXACT,
        ),
        _check(
            "their logits",
            lambda: error(logits.topk(5).values, torch.tensor(asked["top5_logits"])),
        ),
    ]


def peak_memory_gb() -> float:
    """Peak resident memory of this process; macOS counts bytes, Linux kibibytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def write_result(full_size: FullSize, checks: list[Check], path: Path = RESULT) -> None:
    """The table as a page, with what it took."""
    rows = "\n".join(
        f"| {check.quantity} | {check.measure():.1e} | {check.tolerance:.0e} |" for check in checks
    )
    times = "\n".join(f"| {name} | {took:.0f} s |" for name, took in full_size.seconds.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""# The whole 1.3B network against the authors' code

`python tests/parity/report.py --full-size` builds the released model's network (2,046,367,504
parameters) in float32 with the synthetic weights of the reference recipe (seed
{full_size.reference.seed}), evaluates one velocity (conditional and unconditional row, t = 0.5)
and one question about an image, and compares with what the authors' modules computed.

| quantity | largest absolute error | tolerance |
|---|---|---|
{rows}

| step | time |
|---|---|
{times}

Peak resident memory {peak_memory_gb():.2f} GB, of which 8.19 GB are weights. CPU,
{torch.get_num_threads()} thread(s), torch {torch.__version__}; other work ran on the machine, so
the times are upper bounds.
""",
        encoding="utf-8",
    )
