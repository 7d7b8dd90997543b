"""Carry one question from a request to its answer: find the video, wait for a thread, tell how far it is."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import Receive

from bvllm.common.cancelling import Cancelled
from bvllm.inference.hearing import Heard
from bvllm.inference.results import answer_line
from bvllm.server.engine import Answered
from bvllm.server.errors import ApiError, api_error_of
from bvllm.server.library import FoundVideo
from bvllm.server.questions import Incoming
from bvllm.server.state import ServerState
from bvllm.server.traces import Trace, warnings_of
from bvllm.server.work import Ticket

TELL_SECONDS = 0.5  # between two words about progress
ALIVE_SECONDS = 5.0  # between two signs of life where nothing happens


@dataclass(frozen=True)
class Progress:
    """How far the first pass is."""

    step: str
    done: int
    total: int | None

    def __str__(self) -> str:
        """As `decode and encode 12/64`."""
        return f"{self.step} {self.done}" + ("" if self.total is None else f"/{self.total}")


@dataclass(frozen=True)
class Said:
    """New words of the answer."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The answer, whole.

    Attributes:
        text: what the client reads.
        trace: what it rests on.
    """

    text: str
    trace: Trace

    @property
    def cut(self) -> bool:
        """Whether the answer reached its length limit before its end."""
        return not self.trace.answered.heard.ended


Event = Progress | Said | Finished
Prepared = tuple[FoundVideo, ...]


async def prepare(incoming: Incoming, state: ServerState) -> Prepared:
    """The files that a request asks about; errors as from `MediaFinder.find`."""
    return tuple([await state.media.find(media) for media in incoming.conversation.media])


async def events(
    incoming: Incoming, videos: Prepared, ticket: Ticket, state: ServerState
) -> AsyncIterator[Event | None]:
    """What happens while a question is answered; None where nothing did for a while.

    Raises:
        ApiError: it cannot be answered.
    """
    queue: asyncio.Queue[Event] = asyncio.Queue()
    loop, began = asyncio.get_running_loop(), time.monotonic()
    started: list[float] = []
    last = [0.0]

    def tell(event: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server is gone
            loop.call_soon_threadsafe(queue.put_nowait, event)

    def progress(step: str, done: int, total: int | None) -> None:
        if time.monotonic() - last[0] > TELL_SECONDS:
            last[0] = time.monotonic()
            tell(Progress(step, done, total))

    def hear(heard: Heard) -> None:
        if heard.text:
            tell(Said(heard.text))

    live = incoming.stream and not incoming.stop and not incoming.asked.question.options

    def work() -> Answered:
        started.append(time.monotonic())
        return state.engine.ask(videos, incoming.asked, progress, hear if live else None)

    task = asyncio.ensure_future(ticket.run(work))
    try:
        said = ""
        async for event in _until_done(queue, task):
            said += event.text if isinstance(event, Said) else ""
            yield event
        answered = _result(task, state)
        finished = _finished(incoming, answered, began, started[0], state)
        rest = finished.text[len(said) :] if finished.text.startswith(said) else ""
        if rest:
            yield Said(rest)
        yield finished
    finally:
        await _end(task, ticket)


async def _until_done(
    queue: "asyncio.Queue[Event]", task: "asyncio.Future[Answered]"
) -> AsyncIterator[Event | None]:
    """Events as they come, until the work is done and all was told."""
    while not (task.done() and queue.empty()):
        getting = asyncio.ensure_future(queue.get())
        both: set[asyncio.Future[Any]] = {getting, task}
        try:
            await asyncio.wait(both, timeout=ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                yield getting.result()
            elif not task.done():
                yield None
        finally:
            getting.cancel()


def _result(task: "asyncio.Future[Answered]", state: ServerState) -> Answered:
    try:
        return task.result()
    except ApiError:
        raise
    except Exception as error:  # whatever it was, the client gets one line in our words, and the log the rest
        found = api_error_of(error, state.settings.ceilings.request_seconds)
        if found.status == 500:
            state.log.mistake(error)
        raise found from error


def _finished(
    incoming: Incoming, answered: Answered, began: float, started: float, state: ServerState
) -> Finished:
    text = answer_line(answered.answer)
    places = [text.find(word) for word in incoming.stop if word in text]
    text = text[: min(places)] if places else text
    now = time.monotonic()
    warnings = warnings_of(answered, incoming.warnings)
    trace = Trace(incoming.id, answered, warnings, now - began, started - began, now)
    state.traces.keep(trace)
    state.metrics.answered(trace)
    state.log.answer(incoming.id, incoming.asked.question.stem, text)
    return Finished(text, trace)


async def _end(task: "asyncio.Future[Answered]", ticket: Ticket) -> None:
    """Give the work up if it still runs, and wait until it stopped: the place is free only then."""
    if not task.done():
        ticket.cancellation.cancel("client_gone")
        with suppress(Exception, Cancelled, asyncio.CancelledError):  # nobody asks what became of it
            await asyncio.shield(task)


async def whole(
    incoming: Incoming, videos: Prepared, ticket: Ticket, state: ServerState, request: Request
) -> Finished | None:
    """The answer in one piece; None where the client left before it was there.

    Raises:
        ApiError: it cannot be answered.
    """
    answering = asyncio.ensure_future(_last(incoming, videos, ticket, state))
    leaving = asyncio.ensure_future(client_gone(request.receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            ticket.cancellation.cancel("client_gone")
            with suppress(ApiError):
                await answering
            return None
        return answering.result()
    finally:
        leaving.cancel()
        if not answering.done():
            answering.cancel()


async def _last(incoming: Incoming, videos: Prepared, ticket: Ticket, state: ServerState) -> Finished:
    found = [event async for event in events(incoming, videos, ticket, state) if isinstance(event, Finished)]
    return found[-1]


async def client_gone(receive: Receive) -> None:
    """Wait until the client closed the connection; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
