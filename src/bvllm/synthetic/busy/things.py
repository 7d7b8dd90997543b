"""Define what a busy scene holds: things with a place, a size and a time, and signs to be read."""

from dataclasses import dataclass

from bvllm.synthetic.vocabulary import SHAPES, WORDS

SIGN = "sign"
SMALL = 0.075  # below it a thing is called small
ASPECT = 4 / 3  # of the frames that scenes are laid out for
NUMBERS = tuple(str(n) for n in range(10, 60))
LABELS = (*WORDS, *NUMBERS)  # what may stand on a sign
TEXTURES = ("plain", "plain", "plain", "striped", "dotted")
SIGN_WIDTH = 4.0  # of a sign, over its height
SIGN_SIZE = (
    1 / 16
)  # half its height: signs are an eighth of the frame high, three eighths wide, on a lattice of eighths
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        shape: from `SHAPES`, or `SIGN`.
        colour: of the shape, or of a sign's letters.
        x, y: centre at the scene's start, as shares of the frame's width and height.
        size: radius, or half the height of a sign, as a share of the frame's height.
        label: what a sign says; None for shapes.
        texture: one of `TEXTURES`; nothing is asked about it.
        velocity: shares of width and height a second.
        arrives: seconds after the scene's start at which it comes.
    """

    shape: str
    colour: str
    x: float
    y: float
    size: float
    label: str | None = None
    texture: str = "plain"
    velocity: tuple[float, float] = (0.0, 0.0)
    arrives: float = 0.0

    @property
    def is_sign(self) -> bool:
        return self.shape == SIGN

    @property
    def size_word(self) -> str:
        return "small" if self.size < SMALL else "large"

    @property
    def name(self) -> str:
        """As answers name it: "red star", "sign river"."""
        return f"{SIGN} {self.label}" if self.is_sign else f"{self.colour} {self.shape}"

    @property
    def words(self) -> str:
        """All that is seen of it, in a few words."""
        return f"{self.size_word} {self.colour} {self.shape}" + (f" {self.label}" if self.is_sign else "")

    def centre(self, age: float) -> tuple[float, float]:
        """Where it is, so many seconds after the scene's start."""
        return self.x + self.velocity[0] * age, self.y + self.velocity[1] * age

    def half(self) -> tuple[float, float]:
        """Half its width and height, as shares of the frame's."""
        across = SIGN_WIDTH if self.is_sign else 1.0
        return self.size * across / ASPECT, self.size

    def shows(self, age: float) -> bool:
        return age >= self.arrives - 1e-6


@dataclass(frozen=True)
class Scene:
    """What is shown for some seconds.

    Attributes:
        things: what it holds; those that come later lie over those before.
        seconds: how long it is shown, whole.
        kind: what it was composed for, a key of `compose.KINDS`.
        pan: shares of width and height a second by which the camera moves everything.
    """

    things: tuple[Thing, ...]
    seconds: int
    kind: str = "mixed"
    pan: tuple[float, float] = (0.0, 0.0)

    @property
    def labels(self) -> tuple[str, ...]:
        """What its signs say."""
        return tuple(thing.label for thing in self.things if thing.label is not None)

    @property
    def anchor(self) -> str | None:
        """What the sign says by which questions name the scene; None where there is no sign."""
        return self.labels[0] if self.labels else None

    @property
    def shapes(self) -> tuple[Thing, ...]:
        """Its things without signs."""
        return tuple(thing for thing in self.things if not thing.is_sign)

    def seen(self, age: float) -> tuple[Thing, ...]:
        """What is there after so many seconds."""
        return tuple(thing for thing in self.things if thing.shows(age))

    def place(self, thing: Thing, age: float) -> tuple[float, float]:
        """The centre of a thing in the frame, the camera's move included."""
        x, y = thing.centre(age)
        return x + self.pan[0] * age, y + self.pan[1] * age


def cell_of(x: float, y: float) -> str:
    """One of nine parts of the frame, in words.

    Example:
        >>> cell_of(0.1, 0.9), cell_of(0.5, 0.5), cell_of(0.5, 0.1)
        ('bottom left', 'middle', 'top middle')
    """
    row, column = ROWS[min(2, int(y * 3))], COLUMNS[min(2, int(x * 3))]
    return row if row == column else f"{row} {column}"


def words_of_scenes() -> list[str]:
    """Every word that things are told in."""
    return [*SHAPES, SIGN, "small", "large", *ROWS, *COLUMNS, "above", "below"]
