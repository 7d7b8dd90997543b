"""Older home of `bvllm.evaluation.evaluate`: kept for one release, then gone."""

import warnings

from bvllm.evaluation.evaluate import *  # noqa: F403

warnings.warn("bvllm.app.evaluate has moved to bvllm.evaluation.evaluate", DeprecationWarning, stacklevel=2)
