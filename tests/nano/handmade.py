"""Examples made by hand."""

from bvllm.nano.examples import Example, put
from bvllm.synthetic.draft import Question
from bvllm.synthetic.needles import Caption, Event, Sticker
from bvllm.synthetic.timeline import Timeline

STAR = Event(Sticker("star", "red", ("top left",)), 2.0, 1.0)
WORD = Event(Caption("river", "blue"), 7.0, 2.0)
TIMELINE = Timeline(10.0, (WORD, STAR), ())
COLOUR = Question("colour", "which colour is the star?", ("blue", "red"), 1, "", (1,))
BOTH = Question("existence", "is there a red star in the video?", ("yes", "no"), 0, "00:02", (1, 0))
ABSENT = Question("existence", "is there a blue moon in the video?", ("yes", "no"), 1, "", ())


def example(question: Question = COLOUR, *, with_options: bool = True) -> Example:
    return put(TIMELINE, question, with_options=with_options)
