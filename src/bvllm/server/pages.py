"""Serve the page: fixed files from the package, with a strict content security policy."""

from importlib.resources import files

from starlette.responses import Response

from bvllm.server.errors import ApiError

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}


class Page:
    """The files of the page, read once: no name of a client's ever becomes a path."""

    def __init__(self) -> None:
        folder = files("bvllm.server").joinpath("page")
        self._files = (
            {file.name: file.read_bytes() for file in folder.iterdir() if _kind(file.name)}
            if folder.is_dir()
            else {}
        )

    def file(self, name: str) -> Response:
        """One of them.

        Raises:
            ApiError: there is none of this name.
        """
        found = self._files.get(name)
        if found is None:
            raise ApiError(404, "not_found", "the page has no such file: ask for / instead")
        return Response(found, 200, HEADERS, _kind(name))


def _kind(name: str) -> str | None:
    return KINDS.get("." + name.rsplit(".", 1)[-1].lower())
