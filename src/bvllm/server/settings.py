"""Set what the server serves, to whom, and what one request may cost at most."""

import math
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
KILOBYTE = 1 << 10
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Ceilings:
    """What one request, or all together, may cost at most; every one is a flag `--max-...`.

    Attributes:
        tokens, frames: of a budget.
        fps: frames sampled per second of video.
        answer_tokens: length of an answer.
        images: pictures in one request.
        question_chars: length of all texts of a request.
        json_kb: of a request's body, videos inside of it not counted.
        video_mb: of one video, uploaded, fetched or inside a request.
        video_seconds: length of a video.
        store_mb: of all videos kept; those not used for the longest time are removed above it.
        files: uploaded files kept.
        running: questions worked on at once.
        waiting: questions that wait; one more is answered with 503.
        connections: open at once.
        request_seconds: that a question may take, waiting included.
        header_seconds, body_seconds: for the head of a request, and between two pieces of its body.
        fetch_seconds: for one video fetched from an allowed host.
        grace_seconds: that running work is given after SIGTERM.
    """

    tokens: int = 4096
    frames: int = 64
    fps: float = 30.0
    answer_tokens: int = 512
    images: int = 64
    question_chars: int = 20_000
    json_kb: int = 256
    video_mb: int = 512
    video_seconds: float = 4 * 3600.0
    store_mb: int = 8192
    files: int = 1000
    running: int = 8
    waiting: int = 32
    connections: int = 1024
    request_seconds: float = 600.0
    header_seconds: float = 5.0
    body_seconds: float = 10.0
    fetch_seconds: float = 60.0
    grace_seconds: float = 8.0

    def __post_init__(self) -> None:
        for ceiling in fields(self):
            value = self.__dict__[ceiling.name]
            if not (math.isfinite(value) and value > 0) and not (ceiling.name == "waiting" and value == 0):
                flag = "--max-" + ceiling.name.replace("_", "-")
                raise ValueError(f"{flag} must be positive and finite, got {value}: raise it or leave it out")


@dataclass(frozen=True)
class ServerSettings:
    """All that is said on the command line.

    Attributes:
        model: nano, a folder or a hub id.
        host, port: to listen at.
        api_key: that clients must send; None leaves the server open.
        allow_hosts: that videos may be fetched from, as `name` or `name:port`.
        allow_paths: folders whose videos may be named by their path.
        trusted_hosts: further names under which this server is reached, for the check of the Host header.
        insecure: whether an open server may be reached from other machines.
        index: the folder of the index.
        upload_dir: where videos are kept; None takes a temporary folder, removed at the end.
        log_text: whether questions and answers are logged.
        ceilings: what a request may cost.

    Raises:
        ValueError: the server would be open to others, or a setting makes no sense.
    """

    model: str = "nano"
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()
    allow_paths: tuple[Path, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    insecure: bool = False
    index: Path | None = None
    upload_dir: Path | None = None
    log_text: bool = False
    ceilings: Ceilings = field(default_factory=Ceilings)

    def __post_init__(self) -> None:
        if self.api_key is None and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"--host must be a loopback address where there is no key, got {self.host!r}: add "
                "--api-key-file FILE, or say --insecure to leave the server open to everyone"
            )
        if self.api_key is not None and not (self.api_key.isascii() and len(self.api_key) >= 16):
            raise ValueError(
                f"the key must be at least 16 ASCII characters, got {len(self.api_key)}: make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )
        if not 0 <= self.port < 65536:
            raise ValueError(f"--port must lie in 0..65535, got {self.port}: 8000 is usual")
        for folder in self.allow_paths:
            if not folder.is_dir():
                raise ValueError(f"--allow-path must be a folder, got {str(folder)!r}: make it first")

    @property
    def known_hosts(self) -> frozenset[str] | None:
        """Names in the Host header that mean this server; None where any may."""
        if not is_loopback(self.host) and not self.trusted_hosts:
            return None
        return LOOPBACK_NAMES | {self.host.lower()} | {name.lower() for name in self.trusted_hosts}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_key(file: Path) -> str:
    """The API key in a file's first line.

    Raises:
        ValueError: the file cannot be read, or is empty.
    """
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"--api-key-file must be a readable file, got {str(file)!r}: check its name and rights"
        ) from error
    if not key or len(key.splitlines()) > 1:
        raise ValueError(
            f"--api-key-file must hold one line, got {len(key.splitlines())}: write the key there"
        )
    return key
