"""Serve the stub on a free port of this machine, in a process of its own: python -m ... FOLDER SECONDS."""

import sys
from pathlib import Path

from benchmarks.server_load.stub import StubEngine
from bvllm.server.run import listen, serve_at
from bvllm.server.settings import Ceilings, ServerSettings
from bvllm.server.state import ServerState

VIDEO = "a.mp4"
CEILINGS = Ceilings(running=64, waiting=256, connections=2048)


def main(folder: Path, seconds: float) -> None:
    """Serve until SIGTERM; the port is the first line of the output."""
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    (videos / VIDEO).write_bytes(b"\0\0\0\x18ftypmp42" + bytes(1000))
    settings = ServerSettings("stub", allow_paths=(videos,), upload_dir=folder / "uploads", ceilings=CEILINGS)
    with listen("127.0.0.1", 0) as at:
        print(at.getsockname()[1], flush=True)
        serve_at(ServerState.of(settings, StubEngine(folder / "index", seconds)), at)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
