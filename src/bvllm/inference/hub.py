"""Ask once whether the model hub can be reached: its client would try for a minute before it says no."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from huggingface_hub import constants

PATIENCE = 4.0  # seconds
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")


@contextmanager
def reachable_hub(where: str) -> Iterator[None]:
    """Count a hub that cannot be reached as offline: what is cached loads, the rest fails at once.

    Args:
        where: a folder, for which nothing is asked, or a hub id.
    """
    before = constants.HF_HUB_OFFLINE
    if not before and not os.path.isdir(where) and not _answers():
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers() -> bool:
    """Whether the hub's machine takes a connection; a proxy may reach what we cannot."""
    if any(os.environ.get(name) for name in PROXIES):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection(
            (address.hostname or "", address.port or (80 if address.scheme == "http" else 443)), PATIENCE
        ):
            return True
    except OSError:
        return False
