"""Ctrl-C reaches the command also where Python would lose it."""

import signal
import sys
import threading

SOON_SECONDS = 0.05


def deliver_lost_interrupts() -> None:
    """Let an interrupt that was raised where nothing can be raised come again a moment later.

    Compiled libraries call us back (FFmpeg for bytes, the collector for what is thrown away); an exception
    that begins there ends there, with a stack trace. A hook that somebody else has set stays.
    """
    if sys.unraisablehook is sys.__unraisablehook__ and hasattr(signal, "pthread_kill"):
        sys.unraisablehook = _again


def _again(lost: "sys.UnraisableHookArgs") -> None:
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    main = threading.main_thread().ident
    later = threading.Timer(SOON_SECONDS, signal.pthread_kill, (main, signal.SIGINT))
    later.daemon = True
    later.start()
