"""Answer in the shape of OpenAI's responses, whole or as a stream."""

import time
from collections.abc import AsyncGenerator
from itertools import count

from bvllm.server.asking import Finished, Prepared, Progress, Said, events
from bvllm.server.questions import Incoming
from bvllm.server.sse import comment, named
from bvllm.server.state import ServerState
from bvllm.server.work import Ticket

PLACE: dict[str, object] = {"output_index": 0, "content_index": 0}


def response(incoming: Incoming, finished: Finished, state: ServerState) -> dict[str, object]:
    """The answer as one object."""
    heard = finished.trace.answered.heard
    status = "incomplete" if finished.cut else "completed"
    usage = {
        "input_tokens": heard.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": heard.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": heard.prompt_tokens + heard.tokens,
    }
    return {
        **_head(incoming, state, status),
        "incomplete_details": {"reason": "max_output_tokens"} if finished.cut else None,
        "output": [_message(incoming, status, finished.text)],
        "usage": usage,
        "trace": finished.trace.as_json(state.signer.signed),
    }


async def response_stream(
    incoming: Incoming, videos: Prepared, ticket: Ticket, state: ServerState
) -> AsyncGenerator[str, None]:
    """The answer as named events, numbered; nothing marks the end but the last of them."""
    numbers = count()

    def event(kind: str, **fields: object) -> str:
        return named(kind, {"type": kind, "sequence_number": next(numbers), **fields})

    where = {"item_id": _message_id(incoming), **PLACE}
    part = {"type": "output_text", "text": "", "annotations": []}
    begun = False
    async for found in events(incoming, videos, ticket, state):
        if not begun:
            begun = True
            yield event("response.created", response=_head(incoming, state, "in_progress"))
            started = _message(incoming, "in_progress", None)
            yield event("response.output_item.added", output_index=0, item=started)
            yield event("response.content_part.added", **where, part=part)
        if found is None:
            yield comment("working")
        elif isinstance(found, Progress):
            yield comment(found)
        elif isinstance(found, Said):
            yield event("response.output_text.delta", **where, delta=found.text, logprobs=[])
        else:
            status = "incomplete" if found.cut else "completed"
            item = _message(incoming, status, found.text)
            yield event("response.output_text.done", **where, text=found.text, logprobs=[])
            yield event("response.content_part.done", **where, part={**part, "text": found.text})
            yield event("response.output_item.done", output_index=0, item=item)
            yield event(f"response.{status}", response=response(incoming, found, state))


def _head(incoming: Incoming, state: ServerState, status: str) -> dict[str, object]:
    return {
        "id": incoming.id,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": state.engine.name,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 0.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }


def _message(incoming: Incoming, status: str, text: str | None) -> dict[str, object]:
    content = [] if text is None else [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "type": "message",
        "id": _message_id(incoming),
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _message_id(incoming: Incoming) -> str:
    return f"msg_{incoming.id.removeprefix('resp_')}"
