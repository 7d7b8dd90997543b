"""Keep the features of videos on disk, so that each is encoded once. See docs/indexing.md."""

from bvllm.index.build import INDEXING, Indexed, find_indexed, find_or_index, index_video
from bvllm.index.encoder import FrameEncoder, TowerEncoder
from bvllm.index.entry import EntrySummary, FrameMapArrays, IndexedVideo, IndexEntry, IndexMeta
from bvllm.index.errors import DamagedIndexWarning, FolderFault, HeldElsewhere, IndexFailure
from bvllm.index.folder import IndexFolder, default_folder, default_max_bytes
from bvllm.index.key import IndexKey, sampling_settings
from bvllm.index.partial import PartialEntry

__all__ = [
    "INDEXING",
    "DamagedIndexWarning",
    "EntrySummary",
    "FolderFault",
    "FrameEncoder",
    "FrameMapArrays",
    "HeldElsewhere",
    "IndexEntry",
    "IndexFailure",
    "IndexFolder",
    "IndexKey",
    "IndexMeta",
    "Indexed",
    "IndexedVideo",
    "PartialEntry",
    "TowerEncoder",
    "default_folder",
    "default_max_bytes",
    "find_indexed",
    "find_or_index",
    "index_video",
    "sampling_settings",
]
