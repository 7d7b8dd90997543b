"""Older home of `bvllm.asking.indexed`: kept for one release, then gone."""

import warnings

from bvllm.asking.indexed import *  # noqa: F403

warnings.warn("bvllm.app.indexed has moved to bvllm.asking.indexed", DeprecationWarning, stacklevel=2)
