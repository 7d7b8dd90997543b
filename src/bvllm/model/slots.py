"""How many places a prompt reserves for a clip, before anyone knows how many tokens it will need."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SlotRule:
    """The most visual tokens a clip can turn into; the prompt holds that many placeholders for it.

    Selection and merging settle later how many are used. The model closes the gaps before the language model
    runs, so a slot too many costs nothing but ids. Processor and model both count with this rule.

    Attributes:
        frames: L*, frames that may be chosen.
        tokens_per_frame: R.
        budget_tokens: theta, tokens of one clip in all.
        choose: False where every frame is kept.
        merge_frames: False where two queries may spend tokens on the same frame.

    Example:
        >>> rule = SlotRule(frames=32, tokens_per_frame=32, budget_tokens=512)
        >>> rule.count(1), rule.count(4), rule.count(3600)
        (32, 128, 512)
    """

    frames: int = 32
    tokens_per_frame: int = 32
    budget_tokens: int = 512
    choose: bool = True
    merge_frames: bool = True

    def count(self, frames: int) -> int:
        """Slots for a clip of so many sampled frames."""
        return min(self.rows(frames) * self.tokens_per_frame, self.budget_tokens)

    def rows(self, frames: int) -> int:
        """The most frames, repeats counted, that such a clip's tokens may come from."""
        if frames < 1:
            raise ValueError(f"a clip must have at least 1 frame, got {frames}: drop empty clips")
        if frames == 1:
            return 1
        if not self.choose:
            return frames
        return min(self.frames, frames) if self.merge_frames else self.frames
