"""A hub that cannot be reached is known at once."""

import socket
import time

import pytest
from huggingface_hub import constants

from bvllm.inference import hub


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in hub.PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_what_cannot_be_reached_counts_as_offline_within_the_block(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with hub.reachable_hub("owner/name"):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    assert time.monotonic() - started < hub.PATIENCE + 1


def test_what_answers_is_used(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with hub.reachable_hub("owner/name"):
            assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize("where, proxy", [(".", None), ("owner/name", "http://proxy:3128")])
def test_nothing_is_asked_for_a_folder_or_behind_a_proxy(where, proxy, monkeypatch):
    monkeypatch.setattr(hub.socket, "create_connection", lambda *_: pytest.fail("asked"))
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    with hub.reachable_hub(where):
        assert not constants.HF_HUB_OFFLINE
