"""Read files of rows by byte offsets, so that memory does not grow with what the rows hold."""

from bvllm.data.readers.parse import parse_row
from bvllm.data.readers.row_file import RowFile, RowOffsets

__all__ = ["RowFile", "RowOffsets", "parse_row"]
