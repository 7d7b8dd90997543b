"""Older home of `bvllm.inference.stream`: kept for one release, then gone."""

import warnings

from bvllm.inference.stream import *  # noqa: F403

warnings.warn("bvllm.app.stream has moved to bvllm.inference.stream", DeprecationWarning, stacklevel=2)
