"""Turn what a request says of its video into a file on this disk, by the four ways that are allowed."""

from dataclasses import dataclass

from anyio import to_thread

from bvllm.server.addresses import Refused
from bvllm.server.base64_file import decoded, decoded_size
from bvllm.server.body import SpooledText
from bvllm.server.errors import ApiError
from bvllm.server.fetch import Fetcher
from bvllm.server.library import FoundVideo, Library
from bvllm.server.messages import MediaReference

REFUSALS = {
    "url": "address must be a plain http or https URL, got another: write it with a host name",
    "host": "address must be on an allowed host, got another: ask the operator for --allow-host",
    "address": "host must have public addresses only, got another: it is not fetched from",
    "redirect": "address must lead to the video, got other redirects than that: give the last",
    "status": "host must answer with the video, got another answer: check the address",
    "encoding": "host must send the video as it is, got it compressed: ask another host",
    "size": "video must be smaller than the server's limit, got a larger one: cut it, or upload a part",
    "slow": "host must send the video faster, got too few bytes a second: upload it instead",
    "deadline": "host must send the video in time, got one that does not: upload it instead",
    "network": "host must be reachable, got no connection: check the address",
}


@dataclass(frozen=True)
class MediaFinder:
    """Finds videos.

    Attributes:
        library: of uploaded videos and those of the allowed folders.
        fetcher: None where nothing is fetched.
        most_bytes: of one video.
    """

    library: Library
    fetcher: Fetcher | None
    most_bytes: int

    async def find(self, media: MediaReference) -> FoundVideo:
        """The file that a reference means.

        Raises:
            ApiError: it is not allowed, not there, or no video that can be taken.
        """
        where = media.where
        if isinstance(where, SpooledText):
            return await to_thread.run_sync(self._from_base64, where, media.raw)
        if where.startswith("file-"):
            return await to_thread.run_sync(self.library.by_id, where)
        if where.startswith("data:") or media.raw:
            return await to_thread.run_sync(self._from_text, where, media.raw)
        if where.lower().startswith(("http:", "https:")):
            return await self._fetched(where)
        return await to_thread.run_sync(self.library.by_path, where)

    async def _fetched(self, url: str) -> FoundVideo:
        if self.fetcher is None:
            raise ApiError(
                403,
                "fetch_not_allowed",
                "videos must be sent or uploaded, got an address: ask the operator for --allow-host",
                "messages",
            )
        with self.library.store.arriving(self.most_bytes) as arriving:
            try:
                await self.fetcher.fetch(url, arriving)
            except Refused as refused:
                kind = str(refused)
                raise ApiError(400, f"fetch_{kind}", REFUSALS[kind], "messages") from None
            content = await to_thread.run_sync(arriving.keep)
        return FoundVideo("", self.library.store.path_of(content), None, "fetched video")

    def _from_base64(self, text: SpooledText, raw: bool) -> FoundVideo:
        if decoded_size(text.characters) > self.most_bytes + 4096:  # measured before it is decoded
            raise ApiError(
                413,
                "video_too_large",
                f"video must have at most {self.most_bytes} bytes, got more: send a smaller one",
                "messages",
            )
        with self.library.store.arriving(self.most_bytes) as arriving:
            for piece in decoded(text.path, bare=raw):
                arriving.write(piece)
            content = arriving.keep()
        return FoundVideo("", self.library.store.path_of(content), None, "video in the request")

    def _from_text(self, text: str, raw: bool) -> FoundVideo:
        path = self.library.store.new_path()
        try:
            path.write_text(text, encoding="utf-8", errors="replace")
            return self._from_base64(SpooledText(path, len(text)), raw)
        finally:
            path.unlink(missing_ok=True)
