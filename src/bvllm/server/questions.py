"""Turn a request into a question that the engine can be asked, every knob held under its ceiling."""

import uuid
from dataclasses import dataclass
from typing import TypeVar

from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import Question
from bvllm.server.engine import Asked, Engine
from bvllm.server.errors import clean, wrong_request
from bvllm.server.fields import ChatRequest, ResponsesRequest, Spending
from bvllm.server.messages import Conversation, read_messages
from bvllm.server.settings import Ceilings
from bvllm.video import SamplingPlan

USUAL_FPS = 1.0
Value = TypeVar("Value", int, float)
GREEDY = "temperature and top_p are not used: answers are greedy, and the same every time"


@dataclass(frozen=True)
class Incoming:
    """A request, checked.

    Attributes:
        id: that the answer and its trace will have.
        asked: the question.
        conversation: what it is about, and what was not read.
        stream, include_usage: how the answer is sent.
        stop: words before which the answer ends.
        warnings: what does not count.
    """

    id: str
    asked: Asked
    conversation: Conversation
    stream: bool
    include_usage: bool
    stop: tuple[str, ...]
    warnings: tuple[str, ...]


def incoming_chat(request: ChatRequest, engine: Engine, ceilings: Ceilings) -> Incoming:
    """A request to /v1/chat/completions.

    Raises:
        ApiError: it cannot be honoured.
    """
    talk = read_messages(request.messages, most_images=ceilings.images, most_chars=ceilings.question_chars)
    length = request.max_completion_tokens if request.max_tokens is None else request.max_tokens
    name = "max_completion_tokens" if request.max_tokens is None else "max_tokens"
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return _incoming(request, talk, (length, name), stop, engine, ceilings)


def incoming_response(request: ResponsesRequest, engine: Engine, ceilings: Ceilings) -> Incoming:
    """A request to /v1/responses.

    Raises:
        ApiError: it cannot be honoured.
    """
    given = request.input
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if request.instructions:
        messages = [{"role": "system", "content": request.instructions}, *messages]
    talk = read_messages(messages, most_images=ceilings.images, most_chars=ceilings.question_chars)
    length = (request.max_output_tokens, "max_output_tokens")
    return _incoming(request, talk, length, (), engine, ceilings)


def _incoming(
    request: ChatRequest | ResponsesRequest,
    talk: Conversation,
    length: tuple[int | None, str],
    stop: tuple[str, ...],
    engine: Engine,
    ceilings: Ceilings,
) -> Incoming:
    if request.model not in (None, engine.name):
        raise wrong_request(
            f"model must be {engine.name!r}, got another: this server has one, see /v1/models",
            "model",
            "model_not_found",
        )
    include = request.stream_options is not None and request.stream_options.include_usage
    sampled = request.temperature not in (None, 0) or request.top_p not in (None, 1)
    return Incoming(
        f"{'chatcmpl-' if isinstance(request, ChatRequest) else 'resp_'}{uuid.uuid4().hex}",
        _asked(request, talk.question, length, engine, ceilings),
        talk,
        request.stream,
        include,
        tuple(word for word in stop if word),
        (*talk.warnings, *((GREEDY,) if sampled else ())),
    )


def _asked(
    spending: Spending,
    question: str,
    length: tuple[int | None, str],
    engine: Engine,
    ceilings: Ceilings,
) -> Asked:
    """The question with its settings.

    Raises:
        ApiError: one is above its ceiling, or makes no sense.
    """
    beside = spending.media_io_kwargs.video if spending.media_io_kwargs else None
    frames = _one_of(spending.frames, beside.num_frames if beside else None, "frames")
    fps = _one_of(spending.fps, beside.fps if beside else None, "fps")
    frames = None if frames == -1 else frames  # vLLM's word for all of them
    for value, most, name in (
        (spending.token_budget, ceilings.tokens, "token_budget"),
        (frames, ceilings.frames, "frames"),
        (length[0], ceilings.answer_tokens, length[1]),
    ):
        if value is not None and not 1 <= value <= most:
            raise wrong_request(f"{name} must lie in 1..{most}, got {_short(value)}: change it", name)
    if fps is not None and not 0 < fps <= ceilings.fps:
        raise wrong_request(
            f"fps must be above 0 and at most {ceilings.fps:g}, got {_short(fps)}: change it", "fps"
        )
    start, end = spending.start or 0.0, spending.end
    try:
        SamplingPlan(fps=float(fps or USUAL_FPS), start=float(start), end=None if end is None else float(end))
        parsed = Question.parse(question, spending.options)
    except (ValueError, OverflowError) as error:
        raise wrong_request(clean(str(error)), "options" if spending.options else None) from None
    methods = spending.methods()
    try:
        engine.loaded.methods(methods)
    except ValueError as error:
        raise wrong_request(clean(str(error)), "pipeline") from None
    return Asked(
        parsed,
        float(fps or USUAL_FPS),
        float(start),
        None if end is None else float(end),
        engine.loaded.budget.with_parts(spending.token_budget, frames),
        methods,
        length[0] or ANSWER_TOKENS,
    )


def _one_of(ours: Value | None, theirs: Value | None, name: str) -> Value | None:
    """Either spelling of a knob; both at once must agree."""
    if ours is not None and theirs is not None and ours != theirs:
        raise wrong_request(
            f"{name} must be said once, got {_short(ours)} and {_short(theirs)}: leave media_io_kwargs out",
            name,
        )
    return theirs if ours is None else ours


def _short(value: float) -> str:
    """A number, however long."""
    said = repr(value)
    return said if len(said) <= 24 else said[:20] + "…"
