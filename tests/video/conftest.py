"""What several tests of reading videos need."""

import pytest

from bvllm.video import sparse


@pytest.fixture
def short_too(monkeypatch):
    """Decoding in part also where it does not pay: short videos, nearly every frame."""
    monkeypatch.setattr(sparse, "SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(sparse, "WORTH", 0)
