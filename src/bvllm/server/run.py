"""Run the server until it is asked to stop: finish what runs, then end with status 0."""

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn

from bvllm.server.app import create_app
from bvllm.server.connection import with_patience
from bvllm.server.settings import ServerSettings
from bvllm.server.state import ServerState

KEEP_ALIVE_SECONDS = 75  # longer than a load balancer's minute: it should be the one that closes
MOST_HEAD_BYTES = 32 << 10
TELL_SHARE = 0.8  # of the grace time; then what still runs is told that the server stops
BACKLOG = 2048


class GracefulServer(uvicorn.Server):
    """uvicorn, which re-raises the signal that ended it; here a signal is a request, and 0 the answer."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks to stop, a second Ctrl-C means at once."""
        if self.should_exit:
            self.force_exit = sig == signal.SIGINT
            return
        self.should_exit = True
        self._state.queue.drain()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._state.log.event("stopping")
        grace = self._state.settings.ceilings.grace_seconds
        asyncio.get_running_loop().call_later(
            TELL_SHARE * grace, self._state.queue.cancel_all, "shutting_down"
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address, before the model is loaded: a port that is taken is told at once.

    Raises:
        OSError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def serve_at(state: ServerState, at: socket.socket) -> None:
    """Serve at a socket until SIGTERM or SIGINT, then return."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = GracefulServer(config_of(create_app(state), state.settings), state)
    try:
        state.log.event("listening")
        server.run(sockets=[at])
    finally:
        state.queue.cancel_all("shutting_down")
        state.close()


def config_of(app: object, settings: ServerSettings) -> uvicorn.Config:
    """How uvicorn serves an application: by h11 alone, which limits heads, with nothing logged but errors."""
    ceilings = settings.ceilings
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application
        http=with_patience(ceilings.header_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(ceilings.grace_seconds)),
        limit_concurrency=ceilings.connections,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
