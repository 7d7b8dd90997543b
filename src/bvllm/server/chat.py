"""Answer in the shape of OpenAI's chat completions, whole or as a stream."""

import time
from collections.abc import AsyncGenerator

from bvllm.server.asking import Finished, Prepared, Progress, Said, events
from bvllm.server.questions import Incoming
from bvllm.server.sse import comment, data
from bvllm.server.state import ServerState
from bvllm.server.work import Ticket


def completion(incoming: Incoming, finished: Finished, state: ServerState) -> dict[str, object]:
    """The answer as one object."""
    message = {"role": "assistant", "content": finished.text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": _reason(finished), "logprobs": None}
    return {
        **_head(incoming, state, "chat.completion"),
        "choices": [choice],
        "usage": usage(finished),
        "trace": finished.trace.as_json(state.signer.signed),
    }


async def chat_stream(
    incoming: Incoming, videos: Prepared, ticket: Ticket, state: ServerState
) -> AsyncGenerator[str, None]:
    """The answer as events; the trace rides on the chunk with the `finish_reason`, which clients keep."""
    head = _head(incoming, state, "chat.completion.chunk")
    if incoming.include_usage:
        head = {**head, "usage": None}
    begun = False
    async for event in events(incoming, videos, ticket, state):
        if not begun and not isinstance(event, Progress | None):
            begun = True
            yield data({**head, "choices": [_delta({"role": "assistant", "content": ""})]})
        if event is None:
            yield comment("working")
        elif isinstance(event, Progress):
            yield comment(event)
        elif isinstance(event, Said):
            yield data({**head, "choices": [_delta({"content": event.text})]})
        else:
            trace = event.trace.as_json(state.signer.signed)
            yield data({**head, "choices": [_delta({}, _reason(event))], "trace": trace})
            if incoming.include_usage:
                yield data({**head, "choices": [], "usage": usage(event)})
            yield "data: [DONE]\n\n"


def usage(finished: Finished) -> dict[str, object]:
    """Tokens read and said."""
    heard, answer = finished.trace.answered.heard, finished.trace.answered.answer
    return {
        "prompt_tokens": heard.prompt_tokens,
        "completion_tokens": heard.tokens,
        "total_tokens": heard.prompt_tokens + heard.tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "video_tokens": answer.tokens},
    }


def _head(incoming: Incoming, state: ServerState, kind: str) -> dict[str, object]:
    return {
        "id": incoming.id,
        "object": kind,
        "created": int(time.time()),
        "model": state.engine.name,
        "system_fingerprint": None,
    }


def _delta(delta: dict[str, str], reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}


def _reason(finished: Finished) -> str:
    return "length" if finished.cut else "stop"
