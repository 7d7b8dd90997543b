"""Make a synthetic video world: needles in haystacks, with questions about them (after VideoNIAH)."""

from bvllm.synthetic.make import make_world
from bvllm.synthetic.stills import make_pictures
from bvllm.synthetic.tasks import TASKS

__all__ = ["TASKS", "make_pictures", "make_world"]
