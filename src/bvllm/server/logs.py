"""Write one JSON line per request: what it cost, never what it said, unless the operator wants that."""

import json
import logging
import time
from dataclasses import asdict, dataclass

LOG = logging.getLogger("bvllm.server")


@dataclass(frozen=True)
class RequestLine:
    """What is logged of one request.

    Attributes:
        id: that the client was told as well.
        method, route: the route without ids or query, so that no key or name is logged.
        status: of the answer; 0 where the client left first.
        milliseconds: from its head to the end of the answer.
    """

    id: str
    method: str
    route: str
    status: int
    milliseconds: float


@dataclass(frozen=True)
class ServerLog:
    """The log; `with_text` adds questions and answers."""

    with_text: bool = False

    def request(self, line: RequestLine) -> None:
        """A request came to its end."""
        _write({"event": "request", **asdict(line)})

    def answer(self, id: str, question: str, text: str) -> None:
        """A question was answered."""
        words = {"question": question, "answer": text} if self.with_text else {}
        _write({"event": "answer", "id": id, **words})

    def mistake(self, error: BaseException) -> None:
        """Something went wrong that is the server's fault: the one place where a stack trace is told."""
        LOG.error("mistake", exc_info=error)

    def event(self, what: str) -> None:
        """Something about the server itself."""
        _write({"event": what})


def _write(fields: dict[str, object]) -> None:
    LOG.info(json.dumps({"time": round(time.time(), 3), **fields}))
