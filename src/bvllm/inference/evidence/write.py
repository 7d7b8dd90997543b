"""Write the evidence for an answer: chosen frames, their times, and what the model attended to."""

from collections.abc import Sequence
from pathlib import Path

from bvllm.common.files import SUFFIXES, check_evidence_path, replace_file
from bvllm.inference.encode import EncodedVideo
from bvllm.inference.evidence.contact_sheet import ContactSheet, contact_sheet
from bvllm.inference.evidence.html import as_html
from bvllm.inference.evidence.png import as_png
from bvllm.inference.results import Answer

__all__ = ["check_evidence_path", "write_evidence", "write_sheet"]

WRITERS = dict(zip(SUFFIXES, (as_html, as_png)))


def write_evidence(path: str | Path, encoded: EncodedVideo | Sequence[EncodedVideo], answer: Answer) -> Path:
    """Write a contact sheet of the frames that an answer rests on.

    Args:
        path: where to; `.html` makes one self-contained page, `.png` one picture. What was there is replaced
            at once or not at all.
        encoded: the video the question was about, or its clips, in their order.
        answer: what `bvllm.inference.ask.answer` gave for it.

    Returns:
        The path written.

    Raises:
        ValueError: the path cannot be written, see `check_evidence_path`.
        OSError: writing fails.
    """
    return write_sheet(path, contact_sheet(encoded, answer))


def write_sheet(path: str | Path, sheet: ContactSheet) -> Path:
    """Write a contact sheet; paths and errors as for `write_evidence`."""
    target = check_evidence_path(path)
    replace_file(target, WRITERS[target.suffix.lower()](sheet))
    return target
