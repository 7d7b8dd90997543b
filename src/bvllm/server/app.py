"""Put the routes together: see docs/serving.md for what each takes and gives."""

import time

from anyio import to_thread
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from bvllm.common.cancelling import Cancelled
from bvllm.inference.loading import ModelError
from bvllm.server import chat, responses
from bvllm.server.asking import prepare, whole
from bvllm.server.errors import ApiError, api_error_of
from bvllm.server.fields import ChatRequest, ResponsesRequest, SearchRequest, SignRequest, validated
from bvllm.server.guard import Guard
from bvllm.server.media import send_video
from bvllm.server.pages import Page
from bvllm.server.questions import Incoming, incoming_chat, incoming_response
from bvllm.server.reading import json_body
from bvllm.server.sse import EventStream, begun
from bvllm.server.state import ServerState
from bvllm.server.traces import frame_picture
from bvllm.server.upload import receive_upload
from bvllm.server.work import Ticket
from bvllm.video import VideoError

PROMETHEUS = "text/plain; version=1.0.0; charset=utf-8"
CLIENT_GONE = 499  # as nginx logs it; nobody reads it
STALL_SECONDS = 30.0  # that a client may read nothing of a stream


def create_app(state: ServerState) -> ASGIApp:
    """The application of a running server."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _page(app)
    _health(app, state)
    _ask(app, state)
    _files(app, state)
    _look(app, state)

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return _problem(error)

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        code = "method_not_allowed" if error.status_code == 405 else "not_found"
        return _problem(
            ApiError(error.status_code, code, "the path and method must be of this API: see docs/serving.md")
        )

    async def told(request: Request, error: Exception) -> Response:
        return _problem(api_error_of(error, state.settings.ceilings.request_seconds))

    for kind in (VideoError, ValueError, Cancelled, ModelError):
        app.add_exception_handler(kind, told)
    app.add_exception_handler(Exception, told)  # it goes on to the guard, which logs it
    return Guard(app, state)


def _problem(error: ApiError) -> Response:
    return JSONResponse(error.as_json(), error.status, {**error.headers, "x-error-code": error.code})


def _page(app: FastAPI) -> None:
    page = Page()

    @app.api_route("/", methods=["GET", "HEAD"])
    async def index() -> Response:
        return page.file("index.html")

    @app.api_route("/page/{name}", methods=["GET", "HEAD"])
    @app.api_route("/static/{name}", methods=["GET", "HEAD"])
    async def static(name: str) -> Response:
        return page.file(name)


def _health(app: FastAPI, state: ServerState) -> None:
    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        if not state.queue.accepting:
            raise ApiError(503, "not_ready", "the server takes no question now: ask again", None, 2)
        return JSONResponse({"status": "ready", "model": state.engine.name})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(state.metrics.text(), media_type=PROMETHEUS)

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [_model(state)]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        if name != state.engine.name:
            raise ApiError(404, "model_not_found", "model must be the server's, got another: see /v1/models")
        return JSONResponse(_model(state))


def _model(state: ServerState) -> dict[str, object]:
    ceilings, budget = state.settings.ceilings, state.engine.loaded.budget
    return {
        "id": state.engine.name,
        "object": "model",
        "created": 0,
        "owned_by": "bvllm",
        "budget": {"tokens": budget.tokens, "frames": budget.frames},
        "limits": {
            "token_budget": ceilings.tokens,
            "frames": ceilings.frames,
            "fps": ceilings.fps,
            "max_tokens": ceilings.answer_tokens,
            "video_mb": ceilings.video_mb,
            "video_seconds": ceilings.video_seconds,
        },
    }


def _ask(app: FastAPI, state: ServerState) -> None:
    ceilings, engine = state.settings.ceilings, state.engine

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        async with json_body(request, ceilings, state.library.store) as body:
            incoming = incoming_chat(validated(ChatRequest, body.parsed()), engine, ceilings)
            return await answer(request, incoming)

    @app.post("/v1/responses")
    async def create_response(request: Request) -> Response:
        async with json_body(request, ceilings, state.library.store) as body:
            incoming = incoming_response(validated(ResponsesRequest, body.parsed()), engine, ceilings)
            return await answer(request, incoming)

    async def answer(request: Request, incoming: Incoming) -> Response:
        ticket = state.queue.enter()
        streaming = False
        try:
            videos = await prepare(incoming, state)
            is_chat = incoming.id.startswith("chatcmpl-")
            if incoming.stream:
                make = chat.chat_stream if is_chat else responses.response_stream
                lines = await begun(make(incoming, videos, ticket, state))
                streaming = True
                return EventStream(lines, STALL_SECONDS, lambda sent_whole: _over(ticket, state, sent_whole))
            finished = await whole(incoming, videos, ticket, state, request)
            if finished is None:
                state.metrics.aborted()
                return Response(status_code=CLIENT_GONE)
            shape = chat.completion if is_chat else responses.response
            return JSONResponse(shape(incoming, finished, state))
        finally:
            if not streaming:
                ticket.leave()


def _over(ticket: Ticket, state: ServerState, sent_whole: bool) -> None:
    """A stream came to its end."""
    ticket.leave()
    if not sent_whole:
        state.metrics.aborted()


def _files(app: FastAPI, state: ServerState) -> None:
    store, ceilings = state.library.store, state.settings.ceilings

    @app.post("/v1/files")
    async def upload(request: Request) -> Response:
        return JSONResponse((await receive_upload(request, store, ceilings)).as_json())

    @app.get("/v1/files")
    async def files() -> Response:
        found = [file.as_json() for file in store.files()]
        ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]} if found else {}
        empty = {"first_id": None, "last_id": None}
        return JSONResponse({"object": "list", "data": found, "has_more": False, **empty, **ends})

    @app.get("/v1/files/{id}")
    async def file(id: str) -> Response:
        return JSONResponse(store.file(id).as_json())

    @app.delete("/v1/files/{id}")
    async def delete(id: str) -> Response:
        await to_thread.run_sync(store.delete, id)
        return JSONResponse({"id": id, "object": "file", "deleted": True})

    @app.api_route("/v1/files/{id}/content", methods=["GET", "HEAD"])
    async def content(request: Request, id: str) -> Response:
        video = await to_thread.run_sync(state.library.by_id, id)
        return await send_video(request, video, state.engine.limits_of(video))

    @app.post("/v1/files/{id}/signed_url")
    async def signed(request: Request, id: str) -> Response:
        if request.headers.get("content-length", "0") == "0":
            asked = SignRequest()
        else:
            async with json_body(request, ceilings, store) as body:
                asked = validated(SignRequest, body.parsed())
        video = await to_thread.run_sync(state.library.by_id, id)
        url = state.signer.signed(f"v1/files/{video.id}/content", asked.seconds)
        return JSONResponse(
            {"object": "signed_url", "url": url, "expires_at": int(time.time()) + asked.seconds}
        )


def _look(app: FastAPI, state: ServerState) -> None:
    @app.get("/v1/videos")
    async def videos() -> Response:
        found = await to_thread.run_sync(state.library.listed)
        lines = await to_thread.run_sync(lambda: [video.as_json() for video in found])
        return JSONResponse({"object": "list", "data": lines})

    @app.post("/v1/search")
    async def search(request: Request) -> Response:
        async with json_body(request, state.settings.ceilings, state.library.store) as body:
            asked = validated(SearchRequest, body.parsed())
        ticket = state.queue.enter()
        try:
            found, videos = await ticket.run(
                lambda: state.engine.search(state.library.searchable(), asked.query, asked.top)
            )
        except Exception as error:  # as for a question
            raise api_error_of(error, state.settings.ceilings.request_seconds) from error
        finally:
            ticket.leave()
        moments = [
            {
                "object": "moment",
                "video": videos[moment.video].id,
                "name": videos[moment.video].name,
                "seconds": moment.seconds,
                "score": moment.score,
            }
            for moment in found.moments
        ]
        return JSONResponse(
            {"object": "list", "data": moments, "how": found.how, "unknown": list(found.unknown)}
        )

    @app.get("/v1/traces/{id}")
    async def trace(id: str) -> Response:
        return JSONResponse(state.traces.get(id).as_json(state.signer.signed))

    @app.api_route("/v1/traces/{id}/frames/{name}", methods=["GET", "HEAD"])
    async def frame(id: str, name: str, heat: str = "") -> Response:
        place = name.removesuffix(".jpg")
        if not (name.endswith(".jpg") and place.isascii() and place.isdecimal() and len(place) < 6):
            raise ApiError(404, "frame_not_found", "frame must be named as in the trace, got another: see it")
        found = state.traces.get(id)
        picture = await to_thread.run_sync(
            lambda: frame_picture(found, int(place), state.engine.pictures(found.answered), heat=heat == "1")
        )
        return Response(picture, 200, {"Cache-Control": "private, max-age=1800"}, "image/jpeg")
