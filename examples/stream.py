"""Watch a stream, as a camera's, in bounded memory, and ask about it at any time."""

import av
from video import video_and_question

from bvllm import StreamBuffer, answer, load_model

video, question = video_and_question(seconds=120)


def camera():
    """Pictures with their seconds; a camera gives them one by one."""
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_image(), frame.time


nano = load_model("nano")
memory = StreamBuffer(nano, max_frames=64)  # the past is thinned evenly, the newest frames stay
asked = 0.0
for picture, seconds in camera():
    memory.add(picture, seconds)
    if seconds >= asked + 40:
        asked, snapshot = seconds, memory.snapshot()
        found = answer(snapshot, question, nano)
        print(f"after {seconds:.0f} s: {len(snapshot)} frames remembered; {question} {found.text}")
        assert len(snapshot) <= 64
memory.close()
