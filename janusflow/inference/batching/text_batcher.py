"""Questions in a queue, and their answers as they grow side by side.

Knows nothing of threads: one thread adds requests and makes steps.
"""

from collections import deque

from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
from janusflow.inference.batching.adapter_switch import AdapterSet
from janusflow.inference.batching.prompt_reader import PromptReader
from janusflow.inference.batching.requests import Handle, failing
from janusflow.inference.pipeline import JanusFlow


class TextBatcher:
    """Questions, first come, first served: waiting ones and answers under way.

    Args:
        jf: answers.
        reader: reads the questions.
        max_questions: answers side by side.
        tokens_per_step: tokens of every answer in one step.
    """

    def __init__(
        self, jf: JanusFlow, reader: PromptReader, *, max_questions: int, tokens_per_step: int
    ) -> None:
        self.jf = jf
        self.reader = reader
        self.max_questions = max_questions
        self.tokens_per_step = tokens_per_step
        self.waiting: deque[QuestionRequest] = deque()
        self.num_written = 0
        """Tokens so far, of answers that are done too."""
        self._batches: dict[AdapterSet, AnswerBatch] = {}
        """Answers that share forwards."""

    @property
    def handles(self) -> list[Handle[str]]:
        """All requests."""
        return [
            *self.waiting,
            *(each for batch in self._batches.values() for each in batch.answers),
        ]

    @property
    def num_running(self) -> int:
        """Answers under way."""
        return sum(len(batch.answers) for batch in [*self._batches.values()])

    def step(self) -> int:
        """Take the questions there is room for, then give every answer its tokens.

        Nothing is raised: what goes wrong with one question, or with a forward that answers share,
        is the error of those.

        Returns:
            How many answers got tokens.
        """
        self.waiting = deque(each for each in self.waiting if not each.done())
        while self.waiting and self.num_running < self.max_questions:
            request = self.waiting.popleft()
            # One by one, so that a question that fails does so alone.
            with failing(request):
                self._admit(request)
        number, switch = self.num_running, self.reader.switch
        for adapters, ((_, batch),) in switch.grouped(self._batches.items(), lambda each: each[0]):
            before = batch.num_written
            for _ in range(self.tokens_per_step):
                with failing(*batch.answers):
                    switch.turn(adapters)
                    batch.choose()
                    batch.read()
            self.num_written += batch.num_written - before
            if not batch.answers:
                del self._batches[adapters]
        return number

    def _admit(self, request: QuestionRequest) -> None:
        """Read a question, and let its answer grow with those under the same adapters."""
        self.reader.switch.turn(request.adapters)
        inputs = self.jf.prepare_inputs([request.messages], allow_paths=request.allow_paths)
        before = self.reader.tokens_reused
        batch = self._batches.get(request.adapters) or AnswerBatch(self.jf.model, self.jf.processor)
        batch.add(inputs, [request], read=self.reader.read_conversation)
        self._batches[request.adapters] = batch
        request.num_reused_tokens = self.reader.tokens_reused - before
