"""Bound the memory of a process that decodes: little for tables, more once its pictures are known."""

from contextlib import suppress

try:
    import resource
except ImportError:  # pragma: no cover - not a POSIX system
    resource = None  # type: ignore[assignment]

# What a worker may take before it knows how large its pictures are: the tables of a file, not frames.
TABLE_BYTES = 256 << 20
# Pictures that a decoder holds at a time, times the bytes of a pixel: 16 references, threads, conversions.
BYTES_PER_PIXEL = 120

_base: int | None = None  # bytes of data that the process had when it was bound; None in any other process


def bound_memory(base: int) -> None:
    """Bound this process, for good: `base` bytes that it has, and what tables need."""
    global _base
    _base = base
    admit_pictures(0)


def admit_pictures(pixels: int) -> None:
    """Admit a decoder for pictures of so many pixels; nothing happens in a process that is not bound."""
    if _base is not None and resource is not None:
        most = _base + TABLE_BYTES + BYTES_PER_PIXEL * max(0, pixels)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
