"""Questions in a queue, and their answers as they grow side by side.

Knows nothing of threads: one thread adds requests and makes steps.
"""

from collections import deque

from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
from janusflow.inference.batching.requests import Handle, failing
from janusflow.inference.pipeline import JanusFlow


class TextBatcher:
    """Questions, first come, first served: waiting ones and answers under way.

    Args:
        jf: answers.
        max_questions: answers side by side.
        tokens_per_step: tokens of every answer in one step.
    """

    def __init__(self, jf: JanusFlow, *, max_questions: int, tokens_per_step: int) -> None:
        self.jf = jf
        self.max_questions = max_questions
        self.tokens_per_step = tokens_per_step
        self.waiting: deque[QuestionRequest] = deque()
        self._batch = AnswerBatch(jf.model, jf.processor)

    @property
    def handles(self) -> list[Handle[str]]:
        """All requests."""
        return [*self.waiting, *self._batch.answers]

    def step(self) -> None:
        """Take the questions there is room for, then give every answer its tokens.

        Nothing is raised: what goes wrong with one question, or with a forward that answers share,
        is the error of those.
        """
        self.waiting = deque(each for each in self.waiting if not each.done())
        while self.waiting and len(self._batch.answers) < self.max_questions:
            request = self.waiting.popleft()
            # One by one, so that a question that fails does so alone.
            with failing(request):
                inputs = self.jf.prepare_inputs([request.messages], allow_paths=request.allow_paths)
                self._batch.add(inputs, [request])
        for _ in range(self.tokens_per_step):
            with failing(*self._batch.answers):
                self._batch.choose()
                self._batch.read()
