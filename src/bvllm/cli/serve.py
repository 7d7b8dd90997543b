"""`bvllm serve`: answer questions about videos over HTTP, in the shape of OpenAI's API, with a page."""

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bvllm.cli.console import (
    Unanswerable,
    allow_many_files,
    isolate_decoding,
    show,
    silence_libraries,
    wrong_use,
)
from bvllm.cli.index_upkeep import IndexOption, index_folder
from bvllm.cli.options import ModelOption, PipelineOption, ScorerOption, TrustOption

if TYPE_CHECKING:
    from bvllm.server.settings import ServerSettings

INSTALL = "pip install 'bvllm[serve]'"
PACKAGES = ("fastapi", "uvicorn", "h11", "httpcore2", "prometheus_client", "python_multipart")


def _most(what: str) -> Any:
    return typer.Option(help=what, show_default=False, rich_help_panel="Ceilings (docs/serving.md: defaults)")


HostOption = Annotated[str, typer.Option(help="Address to listen at.")]
PortOption = Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")]
ApiKeyFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Its one line is the key of all clients.", show_default=False),
]
AllowPathOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="A folder whose videos may be asked about.", show_default=False),
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME[:PORT]", help="A host to fetch videos from.", show_default=False),
]
TrustHostOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A further name of this server.", show_default=False),
]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Serve other machines without a key.")]
UploadDirOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where videos are kept meanwhile.", show_default=False),
]
LogTextOption = Annotated[bool, typer.Option("--log-text", help="Log questions and answers, too.")]


def serve(
    model: ModelOption = "nano",
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    api_key_file: ApiKeyFileOption = None,
    allow_path: AllowPathOption = None,
    allow_host: AllowHostOption = None,
    trust_host: TrustHostOption = None,
    insecure: InsecureOption = False,
    index: IndexOption = None,
    upload_dir: UploadDirOption = None,
    log_text: LogTextOption = False,
    scorer: ScorerOption = None,
    pipeline: PipelineOption = None,
    trust_remote_code: TrustOption = False,
    max_tokens: Annotated[int | None, _most("Visual tokens of a budget.")] = None,
    max_frames: Annotated[int | None, _most("Frames of a budget.")] = None,
    max_fps: Annotated[float | None, _most("Frames sampled per second of video.")] = None,
    max_answer_tokens: Annotated[int | None, _most("Length of an answer.")] = None,
    max_images: Annotated[int | None, _most("Pictures in one request.")] = None,
    max_question_chars: Annotated[int | None, _most("Length of a question.")] = None,
    max_json_kb: Annotated[int | None, _most("A request without its videos.")] = None,
    max_video_mb: Annotated[int | None, _most("One video.")] = None,
    max_video_seconds: Annotated[float | None, _most("Length of a video.")] = None,
    max_store_mb: Annotated[int | None, _most("All videos that are kept.")] = None,
    max_files: Annotated[int | None, _most("Uploaded files that are kept.")] = None,
    max_running: Annotated[int | None, _most("Questions worked on at once.")] = None,
    max_waiting: Annotated[int | None, _most("Questions that wait.")] = None,
    max_connections: Annotated[int | None, _most("Open connections.")] = None,
    max_request_seconds: Annotated[float | None, _most("For a question, waiting included.")] = None,
    max_header_seconds: Annotated[float | None, _most("For the head of a request.")] = None,
    max_body_seconds: Annotated[float | None, _most("Between two pieces of a body.")] = None,
    max_fetch_seconds: Annotated[float | None, _most("For a video from an allowed host.")] = None,
    max_grace_seconds: Annotated[float | None, _most("For running work after SIGTERM.")] = None,
) -> None:
    """Answer questions over HTTP, in the shape of OpenAI's API, with a page to look at."""
    given = {name: value for name, value in locals().items() if name.startswith("max_")}
    _check_packages()
    silence_libraries()
    from bvllm.inference.model_name import resolve_model
    from bvllm.server.settings import Ceilings, ServerSettings, read_key

    with wrong_use():
        resolve_model(model)
        ceilings = Ceilings(**{k.removeprefix("max_"): v for k, v in given.items() if v is not None})
        settings = ServerSettings(
            model,
            host,
            port,
            None if api_key_file is None else read_key(api_key_file),
            tuple(allow_host or ()),
            tuple(allow_path or ()),
            tuple(trust_host or ()),
            insecure,
            index,
            upload_dir,
            log_text,
            ceilings,
        )
    _serve(settings, scorer, pipeline)


def _check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise Unanswerable(f"`bvllm serve` must have {', '.join(missing)}, got none: run {INSTALL}")


def _serve(settings: "ServerSettings", scorer: str | None, pipeline: str | None) -> None:
    from bvllm.inference.loading import ModelError, load_model
    from bvllm.inference.stop_points import stopping_between
    from bvllm.server.engine import Engine
    from bvllm.server.run import listen, serve_at
    from bvllm.server.settings import MEGABYTE
    from bvllm.server.state import ServerState
    from bvllm.video import Limits

    allow_many_files()
    folder = index_folder(settings.index)
    isolate_decoding()
    try:
        with listen(settings.host, settings.port) as at:
            loaded = load_model(settings.model, scorer=scorer, pipeline=pipeline)
            limits = Limits(
                max_bytes=settings.ceilings.video_mb * MEGABYTE, max_seconds=settings.ceilings.video_seconds
            )
            _log_to_stderr()
            state = ServerState.of(settings, Engine(loaded, folder, limits, name=settings.model))
            host, port = at.getsockname()[:2]
            show(f"http://{f'[{host}]' if ':' in host else host}:{port}/ answers with {settings.model}")
            with stopping_between(loaded.layers):
                serve_at(state, at)
    except (ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error


def _log_to_stderr() -> None:
    """Lines of JSON, and uvicorn's errors."""
    handler = logging.StreamHandler(sys.stderr)
    for name, level in (("bvllm.server", logging.INFO), ("uvicorn.error", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
