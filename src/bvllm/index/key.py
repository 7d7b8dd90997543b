"""Name an index entry by the video's bytes, the sampling settings and the tower."""

import hashlib
import json
import re
from dataclasses import dataclass

# Part of every name, so that a change of the file's layout meets no old file.
FORMAT_PREFIX = "bvllm-index-"
FORMAT = f"{FORMAT_PREFIX}1"
# Goes up whenever the same file and settings would give other frames or other pixels than before.
DECODE_RECIPE = 3
NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class IndexKey:
    """What an entry was made from; another file, rate, size or model is another key.

    Attributes:
        content: SHA-256 of the file's bytes, as hex.
        sampling: how frames were taken, from `sampling_settings`.
        tower: fingerprint of the vision tower, its weights, and how it is run.

    Example:
        >>> IndexKey("ab", "c", "d").name == IndexKey("a", "bc", "d").name
        False
    """

    content: str
    sampling: str
    tower: str

    @property
    def part(self) -> tuple[float, float | None]:
        """(start, end) in seconds of what was indexed; (0, None) for the whole video.

        Example:
            >>> IndexKey("ab", sampling_settings(1, (8, 8), 2.5), "d").part
            (2.5, None)
        """
        try:
            said = json.loads(self.sampling)
        except ValueError:  # of another program, or an earlier format
            return 0.0, None
        return float(said.get("start", 0.0)), said.get("end")

    @property
    def name(self) -> str:
        """64 hex digits: SHA-256 over the parts, each after its length, so that no two keys run together."""
        digest = hashlib.sha256()
        for part in (FORMAT, self.content, self.sampling, self.tower):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()


def sampling_settings(
    fps: float | None, size: tuple[int, int], start: float = 0.0, end: float | None = None
) -> str:
    """How frames are taken, as one canonical line: rate, (height, width), part, and the recipe of decoding.

    Example:
        >>> sampling_settings(1, (128, 96))
        '{"fps": 1.0, "height": 128, "width": 96, "recipe": 3}'
    """
    settings = {"fps": None if fps is None else float(fps), "height": size[0], "width": size[1]}
    part: dict[str, float | None] = {}  # of the whole video the line stays as it always was
    if start or end is not None:
        part = {"start": float(start), "end": None if end is None else float(end)}
    return json.dumps({**settings, **part, "recipe": DECODE_RECIPE})
