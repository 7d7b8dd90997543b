"""Older home of `bvllm.inference.ask`: kept for one release, then gone."""

import warnings

from bvllm.inference.ask import *  # noqa: F403

warnings.warn("bvllm.app.ask has moved to bvllm.inference.ask", DeprecationWarning, stacklevel=2)
