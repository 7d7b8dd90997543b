"""Close connections that keep nobody busy: heads that come too slowly, or never; bodies nobody waits for."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LINGER_SECONDS = 2.0  # for a client to read an answer before the rest of its body is cut off


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which waits for ever, with an end to its patience.

    Attributes:
        head_seconds: for the head of a request, from the connection or its first byte on. Set by
            `with_patience`.
    """

    head_seconds = 5.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            if self._deadline is None:
                self._wait_for_head()
        else:
            self._have_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _have_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def with_patience(head_seconds: float) -> type[PatientProtocol]:
    """The protocol with a deadline of its own: uvicorn makes one for each connection by itself."""
    return type("PatientProtocol", (PatientProtocol,), {"head_seconds": head_seconds})
