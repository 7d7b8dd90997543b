"""Older home of `bvllm.model.presets`: kept for one release, then gone."""

import warnings

from bvllm.model.presets import *  # noqa: F403

warnings.warn("bvllm.presets has moved to bvllm.model.presets", DeprecationWarning, stacklevel=2)
