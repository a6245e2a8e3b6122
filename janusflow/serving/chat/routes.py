"""`POST /v1/chat/completions`: the next turn of a conversation, whole or as it comes."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from janusflow.inference.answering.answers import QuestionRequest
from janusflow.inference.drawing.seeds import chosen
from janusflow.serving.chat.answer import Answer, usage
from janusflow.serving.chat.messages import prepare_messages
from janusflow.serving.chat.types import ChatBody
from janusflow.serving.engine import Engine, Work
from janusflow.serving.errors import ApiError
from janusflow.serving.models import adapters_of, check_model
from janusflow.serving.streaming import DONE, KEEP_ALIVE, event, stream

router = APIRouter()


@router.post("/v1/chat/completions")
async def create_chat_completion(body: ChatBody, request: Request) -> Response:
    """Answer a conversation; the body is OpenAI's."""
    engine: Engine = request.app.state.engine
    answer = Answer(model=check_model(engine, body.model), jf=engine.jf)
    number, seed = body.n or 1, chosen(body.seed)
    if number > engine.config.max_choices:
        raise ApiError(
            400, f"n={number}: at most {engine.config.max_choices} are given.", param="n"
        )
    with ExitStack() as stack:
        work = stack.enter_context(engine.work(request, "chat"))
        prepare, processor = prepare_messages, engine.jf.processor.image_processor
        given = (body.messages, engine.images, processor, engine.config)
        messages = await work.attend(engine.images.in_thread(prepare, *given))
        for index in range(number):
            handle = engine.scheduler.submit_question(
                messages,
                settings=body.settings,
                seed=seed + index,
                allow_paths=False,
                adapters=adapters_of(engine, body.model),
                on_piece=teller(work, index),
            )
            work.handles.append(handle)
        if body.stream:
            return await stream(request, work, chunks(answer, work, body), stack.pop_all())
        whole = answer.whole(await work.results(), work.handles)
        finish(work)
        return JSONResponse(whole)


def teller(work: Work, index: int) -> Callable[[str], None]:
    """For the scheduler's thread: a piece of a choice, and how many tokens there are so far."""

    def tell(piece: str) -> None:
        # The handle may still be on its way to the list; a later piece has its tokens then.
        number = len(work.handles[index].logprobs) if index < len(work.handles) else 0
        work.tell((index, piece, number))

    return tell


async def chunks(answer: Answer, work: Work, body: ChatBody) -> AsyncIterator[str]:
    """The answer as it comes: for every choice its role, its text, and why it ends."""
    told = dict[int, int]()
    """For every choice that has begun, how many tokens' logprobs were told."""
    unknown = {"usage": None} if body.includes_usage else {}
    async for item in work.items():
        if item is None:
            yield KEEP_ALIVE
            continue
        if is_end := isinstance(item, QuestionRequest):
            index, piece, number = work.handles.index(item), "", len(item.logprobs)
        else:
            index, piece, number = item
        if index not in told:
            told[index] = 0
            yield event(answer.chunk(index, {"role": "assistant", "content": ""}) | unknown)
        logprobs = work.handles[index].logprobs[told[index] : number]
        told[index] += len(logprobs)
        if piece or logprobs:
            yield event(answer.chunk(index, {"content": piece}, logprobs=logprobs) | unknown)
        if is_end:
            yield event(answer.chunk(index, {}, finish=item.finish_reason) | unknown)
    if body.includes_usage:
        yield event(answer.end(work.handles))
    yield DONE
    finish(work)


def finish(work: Work) -> None:
    """Log and count an answer."""
    if work.first_seconds is not None:
        longest = max(len(handle.token_ids) for handle in work.handles)
        work.metrics.answered(work.first_seconds, work.seconds, longest)
    work.finish(usage(work.handles), [handle.finish_reason for handle in work.handles])
