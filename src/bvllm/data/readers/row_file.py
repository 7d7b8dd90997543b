"""A file of rows as a sequence: rows are parsed when they are asked for."""

import os
from pathlib import Path

from bvllm.data.dialogue import Dialogue, Media, MediaKind
from bvllm.data.faults import BadRow
from bvllm.data.readers.offsets import RowOffsets
from bvllm.data.readers.parse import parse_row

UNNAMED_SUFFIX = ".mp4"  # Valley names its videos without one


class RowFile:
    """Rows of a JSON array or a JSONL file, in the chat schema or LLaVA's form, also mixed.

    Args:
        path: the file.
        media_root: the folder that media are named from and must lie in; the file's own where None.

    Errors:
        ValueError where the file holds no rows; BadRow from `rows[k]`, with file, line and row.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> turns = [{"from": "human", "value": "who?"}, {"from": "gpt", "value": "a cat"}]
        >>> _ = (folder / "rows.json").write_text(json.dumps([{"id": "a", "conversations": turns}]))
        >>> rows = RowFile(folder / "rows.json")
        >>> len(rows), rows[0].turns[1].text
        (1, 'a cat')
    """

    def __init__(self, path: str | Path, media_root: str | Path | None = None) -> None:
        self.path = Path(path)
        self.media_root = Path(media_root) if media_root is not None else self.path.parent
        if not self.media_root.is_dir():
            raise ValueError(
                f"media_root must be a folder, got {str(self.media_root)!r}: name an existing one"
            )
        self.offsets = RowOffsets.of(self.path)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> Dialogue:
        if not 0 <= row < len(self):
            raise IndexError(f"row must be in 0..{len(self) - 1}, got {row}: see len()")
        where = self.where(row)
        return parse_row(
            self.offsets.read(self.path, row),
            where,
            lambda kind, name, folder: find_media(kind, name, folder, self.media_root, where),
        )

    def where(self, row: int) -> str:
        """File, line and row, as messages name it."""
        return f"{self.path}:{int(self.offsets.spans[row, 2])} (row {row})"


def find_media(kind: MediaKind, name: str, folder: str | None, root: Path, where: str) -> Media:
    """The file that a row names, inside the media folder; nothing is opened.

    Args:
        name: as the row gives it, from `root`.
        folder: a subfolder that the row names apart, as Valley does.
        root: the media folder.

    Errors:
        BadRow of kind outside_root or missing.
    """
    names = [name] if os.path.splitext(name)[1] else [name, name + UNNAMED_SUFFIX]
    tried = [os.path.join(root, n) for n in names]
    tried += [os.path.join(root, folder, n) for n in names if folder]
    real_root = os.path.realpath(root)
    for path in tried:
        if os.path.isfile(path):
            if os.path.commonpath([os.path.realpath(path), real_root]) != real_root:
                raise BadRow(where, "outside_root", f"{kind} must lie inside the media folder, got {name!r}")
            return Media(kind, Path(path), root)
    if os.path.commonpath([os.path.abspath(tried[0]), os.path.abspath(root)]) != os.path.abspath(root):
        raise BadRow(where, "outside_root", f"{kind} must lie inside the media folder, got {name!r}")
    raise BadRow(where, "missing", f"{kind} must be an existing file, got {name!r}")
