"""Say in OpenAI's shape what went wrong, in our own words: no path, no class, no stack trace."""

import re

from bvllm.common.cancelling import Cancelled
from bvllm.inference.loading import ModelError
from bvllm.video import VideoError

# The status of each kind of video error: what the file is at fault for is no error of the server's.
STATUS_OF_KIND = {
    "missing": 404,
    "not_regular": 400,
    "permission": 400,
    "empty": 400,
    "no_video": 400,
    "unsupported_container": 400,
    "unsupported_codec": 400,
    "corrupt": 422,
    "limit": 400,
    "outside_root": 403,
    "io": 422,
    "changed": 409,
    "usage": 400,
}
# Some kinds quote the file's name, which is ours, not the client's.
MESSAGE_OF_KIND = {
    "missing": "video must be there, got one that is gone: upload it again",
    "not_regular": "video must be a regular file, got something else: name the file itself",
    "permission": "video must be readable by the server, got one that is not: ask its operator",
    "outside_root": "video must lie in a folder that the server allows, got one outside: upload it",
}
PATHLIKE = re.compile(r"(?:/[\w.@+-]+){2,}|0x[0-9a-fA-F]{6,}|Traceback| object at ")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    421: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
TOO_SLOW = "the answer must be found within {seconds:g} s, got a request that takes longer: ask less of it"


class ApiError(Exception):
    """An error as a client sees it.

    Args:
        status: of the HTTP answer.
        code: a word that a program can act on.
        message: one line for a person.
        param: the field of the request that is at fault.
        retry_after: seconds after which the same request may succeed; None where it would fail again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after = param, retry_after

    def as_json(self) -> dict[str, object]:
        """OpenAI's error object."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What tells OpenAI's clients whether to try again by themselves."""
        if self.retry_after is not None:
            return {"Retry-After": str(self.retry_after)}
        return {"x-should-retry": "false"}


def wrong_request(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """A request that makes no sense, or asks for too much."""
    return ApiError(400, code, message, param)


def api_error_of(error: BaseException, seconds: float) -> ApiError:
    """What a client is told about anything that can be raised; `seconds` were allowed."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, VideoError):
        message = MESSAGE_OF_KIND.get(error.kind, str(error))
        return ApiError(STATUS_OF_KIND[error.kind], error.kind, clean(message), "messages")
    if isinstance(error, Cancelled) and error.reason == "deadline":
        return ApiError(408, "deadline", TOO_SLOW.format(seconds=seconds))
    if isinstance(error, Cancelled):
        return ApiError(503, error.reason, "the server is stopping: ask again in a moment", None, 5)
    if isinstance(error, ValueError):
        return wrong_request(clean(str(error)))
    if isinstance(error, ModelError):
        return ApiError(500, "model_error", "the model gave no sound answer: its operator must look at it")
    return ApiError(500, "internal_error", "the server made a mistake: its log says which")


def clean(message: str) -> str:
    """One of our own messages in one line, names of files left out.

    Example:
        >>> clean("model '/srv/models/a' must be loaded")
        "model '…' must be loaded"
    """
    line = " ".join(message.split())
    return PATHLIKE.sub("…", line)[:600]
