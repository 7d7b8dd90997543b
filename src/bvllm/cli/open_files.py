"""How many files a command may hold open."""

from contextlib import suppress

try:
    import resource
except ImportError:  # pragma: no cover - not a POSIX system
    resource = None  # type: ignore[assignment]

MANY = 65536


def allow_many_files() -> None:
    """As many as the system lets this process have, up to 65 536: a search keeps one open for each video."""
    if resource is None:  # pragma: no cover
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # where it cannot be raised, the search says so when it runs out
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
