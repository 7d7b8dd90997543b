"""bvllm: questions about long videos, answered on a fixed budget of visual tokens."""

__version__ = "0.1.0"
