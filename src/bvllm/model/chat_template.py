"""Render a chat template, which is untrusted input from a model folder: sandboxed, with a time limit."""

import ctypes
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from bvllm.model.folder import ModelError

MOST_SECONDS = 10.0
_NAME = re.compile(r"\w+")


class _TooSlow(BaseException):
    """Raised inside a rendering that takes too long; no template can catch it."""


def render_chats(conversations: list[Any], template: str | None, **variables: Any) -> tuple[list[str], Any]:
    """Render chats with transformers' sandboxed Jinja.

    Returns:
        The prompts, and the spans that the assistant says where the template marks them.

    Raises:
        ModelError: the template fails, or takes longer than MOST_SECONDS.
    """
    try:
        with _time_limit(MOST_SECONDS):
            prompts, spans = render_jinja_template(
                conversations=conversations, chat_template=template, **variables
            )
    except _TooSlow:
        raise ModelError(
            f"chat template must render within {MOST_SECONDS:g} s, got one that takes longer: replace "
            "chat_template.jinja"
        ) from None
    except Exception as error:  # a template divides, indexes and calls what it is given
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"chat template must render, got {reason!r}: replace chat_template.jinja") from error
    return prompts, spans


def check_variables(given: Collection[str], template: str | None, read: Collection[str]) -> None:
    """Refuse words that neither a call nor its template reads: they would do nothing.

    Args:
        given: names that were passed on to the template.
        template: whose words are looked through; a name that it does not hold means nothing to it.
        read: what the call itself reads, for the message.

    Raises:
        ValueError: such a name.

    Example:
        >>> check_variables(["lang"], "{{ lang }} {{ messages }}", ["fps"])
    """
    words = set(_NAME.findall(template or ""))
    for name in given:
        if name not in words:
            raise ValueError(
                f"apply_chat_template must be given words that are read, got {name!r}: it reads "
                f"{', '.join(sorted(read))} and the variables of its template"
            )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_TooSlow` in this thread after some seconds, between two of its Python instructions."""
    thread, lock, done = threading.get_ident(), threading.Lock(), False

    def stop() -> None:
        with lock:
            if not done:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_TooSlow))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            done = True
        timer.cancel()
