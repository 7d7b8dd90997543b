"""Say the answers of questions that came at about the same time in one batch.

Nobody waits for company: the first question is answered alone, and those that arrive meanwhile together.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from bvllm.common import cancelling
from bvllm.common.cancelling import Cancellation
from bvllm.inference.hearing import Hear
from bvllm.inference.model import AskedQuestion, VideoModel, VisualTokens
from bvllm.inference.session import PromptCache
from bvllm.inference.together import AnswersTogether, Turn

MOST_TOGETHER = 16
WAIT_SECONDS = 0.05


class Everybody(Cancellation):
    """Given up once all of several are."""

    def __init__(self, each: list[Cancellation]) -> None:
        super().__init__()
        self._each = each

    def check(self) -> None:
        if all(one.reason is not None for one in self._each):
            self._each[0].check()


@dataclass(eq=False)
class _Waiting:
    """A question at the door of the language model."""

    turn: Turn
    max_new_tokens: int
    cancellation: Cancellation
    done: bool = False
    text: str = ""
    error: BaseException | None = None


class Speaker:
    """The one mouth of a model, for all threads."""

    def __init__(self, loaded: VideoModel, most: int = MOST_TOGETHER) -> None:
        self._loaded, self._most = loaded, most
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._speaking = False
        self.batches = self.answers = 0

    def speak(self, hear: Hear) -> Callable[[AskedQuestion, VisualTokens, int, PromptCache], str]:
        """What `answer` takes in place of `generate`; `hear` is told of every token."""

        def say(asked: AskedQuestion, visual: VisualTokens, max_new_tokens: int, prompt: PromptCache) -> str:
            model = self._loaded
            if not isinstance(model, AnswersTogether):
                return self._loaded.generate(asked, visual, max_new_tokens, prompt, hear)
            cancellation = cancelling.current() or Cancellation()
            turn = Turn(asked, visual, prompt, hear, lambda: cancellation.reason is not None)
            model.read_ahead(turn)  # on its own thread, beside those of others
            return self._among_others(_Waiting(turn, max_new_tokens, cancellation), model)

        return say

    def _among_others(self, mine: _Waiting, model: AnswersTogether) -> str:
        """Wait until somebody has spoken for all, or speak for all that wait."""
        with self._changed:
            self._waiting.append(mine)
        try:
            while not mine.done:
                batch = self._batch()
                if batch:
                    self._say(batch, model)
                mine.cancellation.check()
        finally:
            with self._changed:
                if mine in self._waiting:
                    self._waiting.remove(mine)
        if mine.error is not None:
            raise mine.error
        return mine.text

    def _batch(self) -> list[_Waiting]:
        """Those to speak for now; none, after a while, where another thread speaks."""
        with self._changed:
            if self._speaking or not self._waiting:
                self._changed.wait(WAIT_SECONDS)
                return []
            length = self._waiting[0].max_new_tokens
            batch = [one for one in self._waiting if one.max_new_tokens == length][: self._most]
            self._waiting = [one for one in self._waiting if one not in batch]
            self._speaking = True
            return batch

    def _say(self, batch: list[_Waiting], model: AnswersTogether) -> None:
        try:
            with Everybody([one.cancellation for one in batch]).during():
                texts = model.answer_together([one.turn for one in batch], batch[0].max_new_tokens)
            for one, text in zip(batch, texts, strict=True):
                one.text = text
        except Exception as error:  # each of them is told, on its own thread
            for one in batch:
                one.error = error
        finally:
            with self._changed:
                for one in batch:
                    one.done = True
                self._speaking = False
                self.batches += 1
                self.answers += len(batch)
                self._changed.notify_all()
