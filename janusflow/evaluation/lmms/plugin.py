"""The plug-in for lmms-eval: `--model janusflow` there is any model that `janusflow.load` opens.

lmms-eval finds it through the entry-point group `lmms_eval.models`. Its own task code does the
rest: prompts, data, scores. Importing this module needs lmms-eval (the extra `lmms`, in an
environment of its own).
"""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.model import lmms  # pyright: ignore[reportMissingImports]
from lmms_eval.models.registry_v2 import ModelManifest  # pyright: ignore[reportMissingImports]

from janusflow.config.errors import ConfigError
from janusflow.evaluation.core.tasks import NO_SYSTEM_PROMPT
from janusflow.evaluation.lmms.requests import (
    Request,
    answer_requests,
    as_conversation,
    read_generation,
)
from janusflow.inference.answering.chat import Message
from janusflow.inference.loading import load
from janusflow.interop.hub import MINI

OWN_SYSTEM_PROMPT = "own"
"""As `system_prompt`: the model's default, which benchmarks of understanding go without."""


class JanusFlowPlugin(lmms):
    """Answers chat messages: any number of images, each where the task puts it."""

    is_simple = False

    def __init__(
        self,
        pretrained: str = MINI,
        precision: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        system_prompt: str = NO_SYSTEM_PROMPT,
        max_batch_size: int | None = None,  # noqa: ARG002 (lmms-eval hands it to every model)
        **unknown: Any,
    ) -> None:
        """Load the model that `--model_args` names.

        Args:
            pretrained: mini, a folder, or a hub id.
            precision: auto, float32 or bfloat16.
            device: auto, cpu, cuda, cuda:N or mps; also lmms-eval's --device. Of several processes
                each has its own, whatever is said.
            batch_size: questions side by side, lmms-eval's --batch_size; no answer depends on it.
            system_prompt: none by default, as the authors measured; a text or a file that holds
                one, or `own` for the model's.

        Raises:
            ConfigError: an argument is unknown, or the batch size is none.
            CheckpointError: there is no such model.
        """
        super().__init__()
        if unknown:
            raise ConfigError(
                f"--model_args: got {', '.join(unknown)}, wanted pretrained, precision, device or "
                "system_prompt."
            )
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise ConfigError(f"--batch_size {batch_size}: wanted a number from 1 on.")
        self.batch_size = int(batch_size)
        self.system_prompt = (
            None
            if system_prompt == OWN_SYSTEM_PROMPT
            else self._resolve_system_prompt(system_prompt)
        )
        self.accelerator = Accelerator()
        self._rank = self.accelerator.process_index
        self._world_size = self.accelerator.num_processes
        if self._world_size > 1:
            device = str(self.accelerator.device)
        # One process of a machine fetches what a hub has, the others find it there.
        with self.accelerator.local_main_process_first():
            self.jf = load(pretrained, device=device or "auto", dtype=precision)

    @property
    def device(self) -> torch.device:
        """Where this process answers; lmms-eval gathers on it."""
        return self.jf.model.device

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer this process's requests, which lmms-eval shares out and gathers."""
        return answer_requests(
            self.jf,
            [self._read(request.args) for request in requests],
            batch_size=self.batch_size,
            is_quiet=self.rank > 0,
        )

    def _read(self, arguments: tuple[Any, ...]) -> Request:
        _, to_messages, kwargs, doc_id, task, split = arguments

        def conversation() -> list[Message]:
            messages = to_messages(self.task_dict[task][split][doc_id])
            return as_conversation(messages, system_prompt=self.system_prompt)

        return conversation, read_generation(kwargs)

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refused: lmms-eval 0.7 makes texts of the numbers, and its own scoring fails on them."""
        raise ConfigError(
            f"got {len(requests)} answers to compare by likelihood, which this plug-in does not "
            "do: take a task that generates, such as seedbench for seedbench_ppl."
        )

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refused: no benchmark of the paper asks in several rounds."""
        raise ConfigError(
            f"got {len(requests)} questions in several rounds, which this plug-in does not "
            "answer: leave the task out."
        )


def manifest() -> ModelManifest:
    """What lmms-eval's registry is told."""
    return ModelManifest(
        model_id="janusflow",
        chat_class_path=f"{__name__}.{JanusFlowPlugin.__name__}",
    )
