"""Define the needles: what is put into a haystack, in words and on a timeline."""

from dataclasses import dataclass

from bvllm.synthetic.vocabulary import CORNERS, DIRECTIONS


@dataclass(frozen=True)
class Sticker:
    """One to three equal shapes on small cards, laid over the picture.

    Attributes:
        shape, colour: what it looks like.
        corners: where each card sits, names from `CORNERS`.
        direction: name from `DIRECTIONS`, or None where the sticker stands still.
        scale: height of a card as a share of the frame's height.
        jitter: (x, y) shift as a share of the frame, so that no two stickers sit on the same pixels.
    """

    shape: str
    colour: str
    corners: tuple[str, ...]
    direction: str | None = None
    scale: float = 0.3
    jitter: tuple[float, float] = (0.0, 0.0)

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    def centres(self, progress: float) -> list[tuple[float, float]]:
        """Centres of the cards, as shares of the frame, `progress` (0..1) of the way through the event."""
        dx, dy = DIRECTIONS[self.direction] if self.direction else (0.0, 0.0)
        travel = 0.56 * (progress - 0.5)
        shift_x, shift_y = self.jitter[0] + dx * travel, self.jitter[1] + dy * travel * 0.8
        return [(CORNERS[c][0] + shift_x, CORNERS[c][1] + shift_y) for c in self.corners]


@dataclass(frozen=True)
class Caption:
    """A written word on a band across the picture.

    Attributes:
        word: the word, in lower case; it is drawn in capitals.
        ink: colour of the letters.
        height: vertical centre of the band as a share of the frame.
    """

    word: str
    ink: str
    height: float = 0.8

    @property
    def name(self) -> str:
        return self.word


@dataclass(frozen=True)
class Picture:
    """A whole drawn picture that replaces the frame.

    Attributes:
        subject: an item (`insert 1`) or a landmark (`insert 2`).
        backdrop: colour behind it.
        jitter: (x, y) shift of the subject as a share of the frame.
        scale: size of the subject, 1 = ordinary.
    """

    subject: str
    backdrop: str
    jitter: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0

    @property
    def name(self) -> str:
        return self.subject


Needle = Sticker | Caption | Picture


@dataclass(frozen=True)
class Event:
    """A needle and when it can be seen: from `start` for `seconds`."""

    needle: Needle
    start: float
    seconds: float

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def shows(self, time: float) -> bool:
        return self.start - 1e-6 <= time < self.end - 1e-6
