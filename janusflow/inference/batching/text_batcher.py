"""Questions in a queue, and their answers as they grow side by side.

Knows nothing of threads: one thread adds requests and makes steps.
"""

from collections import deque

from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
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
        self._batch = AnswerBatch(jf.model, jf.processor)

    @property
    def handles(self) -> list[Handle[str]]:
        """All requests."""
        return [*self.waiting, *self._batch.answers]

    @property
    def num_running(self) -> int:
        """Answers under way."""
        return len(self._batch.answers)

    @property
    def num_written(self) -> int:
        """Tokens so far, of answers that are done too."""
        return self._batch.num_written

    def step(self) -> int:
        """Take the questions there is room for, then give every answer its tokens.

        Nothing is raised: what goes wrong with one question, or with a forward that answers share,
        is the error of those.

        Returns:
            How many answers got tokens.
        """
        self.waiting = deque(each for each in self.waiting if not each.done())
        while self.waiting and len(self._batch.answers) < self.max_questions:
            request = self.waiting.popleft()
            # One by one, so that a question that fails does so alone.
            with failing(request):
                inputs = self.jf.prepare_inputs([request.messages], allow_paths=request.allow_paths)
                before = self.reader.tokens_reused
                self._batch.add(inputs, [request], read=self.reader.read_conversation)
                request.num_reused_tokens = self.reader.tokens_reused - before
        number = self.num_running
        for _ in range(self.tokens_per_step):
            with failing(*self._batch.answers):
                self._batch.choose()
                self._batch.read()
        return number
