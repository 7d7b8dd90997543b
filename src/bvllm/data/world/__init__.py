"""A synthetic video world: needles in haystacks, with questions about the needles alone (after VideoNIAH)."""

from bvllm.data.world.make import make_world
from bvllm.data.world.tasks import TASKS

__all__ = ["TASKS", "make_world"]
