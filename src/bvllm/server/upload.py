"""Take an uploaded file to disk while it arrives: measured, hashed, and never in memory."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from bvllm.server.errors import ApiError, wrong_request
from bvllm.server.reading import pieces
from bvllm.server.settings import MEGABYTE, Ceilings
from bvllm.server.store import ArrivingVideo, UploadedFile, VideoStore

MOST_FIELD = 4096  # bytes of a field that is no file
MOST_PARTS = 16
FRAME = 64 << 10  # of the form around the file
SHORTEST, LONGEST = 60, 30 * 24 * 3600  # seconds that a file may be kept


@dataclass
class _Form:
    """What the parser found so far."""

    arriving: ArrivingVideo
    fields: dict[str, bytes] = field(default_factory=dict)
    name: str = ""
    files: int = 0
    parts: int = 0
    whole: bool = False
    _header: bytes = b""
    _value: bytes = b""
    _disposition: bytes = b""
    _part: str = ""
    _is_file: bool = False

    def part_begin(self) -> None:
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise wrong_request(f"form must have at most {MOST_PARTS} parts, got more: send the file alone")
        self._disposition = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._part = options.get(b"name", b"").decode("utf-8", errors="replace")
        self._is_file = self._part == "file"
        if self._is_file:
            self.files += 1
            said = options.get(b"filename", b"").decode("utf-8", errors="replace")
            self.name = said.replace("\\", "/").rsplit("/", 1)[-1][:200]
        if self.files > 1:
            raise wrong_request("form must hold one file, got several: send them one by one", "file")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.arriving.write(data[start:end])
            return
        held = self.fields.get(self._part, b"") + data[start:end]
        if len(held) > MOST_FIELD:
            raise wrong_request(f"field must have at most {MOST_FIELD} bytes, got more: shorten it")
        self.fields[self._part] = held

    def end(self) -> None:
        self.whole = True

    def parser(self, boundary: bytes) -> MultipartParser:
        """The parser that fills this form."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self.part_begin,
                "on_header_field": self.header_field,
                "on_header_value": self.header_value,
                "on_header_end": self.header_end,
                "on_headers_finished": self.headers_finished,
                "on_part_data": self.part_data,
                "on_end": self.end,
            },
        )


async def receive_upload(request: Request, store: VideoStore, ceilings: Ceilings) -> UploadedFile:
    """The file of a form with the fields of OpenAI's API: file, purpose, expires_after[seconds].

    Raises:
        ApiError: it is no such form, too large, too slow, or there is no room.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind.lower() != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise ApiError(
            415, "not_a_form", "body must be multipart/form-data, got another: use curl -F file=@FILE"
        )
    most = ceilings.video_mb * MEGABYTE
    with store.arriving(most) as arriving:
        form = _Form(arriving)
        try:
            parser = form.parser(boundary)
            async for piece in pieces(request, ceilings, most + FRAME):
                parser.write(piece)
        except FormParserError:
            form.whole = False
        if not form.whole:
            raise ApiError(
                400, "invalid_form", "form must be whole, got a damaged one: send it again"
            ) from None
        if not form.files:
            raise wrong_request("form must hold a field `file`, got none: use curl -F file=@FILE", "file")
        seconds = _seconds(form.fields)
        content = arriving.keep()
    purpose = form.fields.get("purpose", b"user_data").decode("utf-8", errors="replace")[:64]
    return store.add(content, form.name or "video", purpose, seconds)


def _seconds(fields: dict[str, bytes]) -> float | None:
    """How long the file is kept."""
    said = fields.get("expires_after[seconds]")
    if said is None:
        return None
    if not (said.isdigit() and len(said) < 10 and SHORTEST <= int(said) <= LONGEST):
        raise wrong_request(
            f"expires_after[seconds] must lie in {SHORTEST}..{LONGEST}, got another: change it",
            "expires_after[seconds]",
        )
    return float(said)
