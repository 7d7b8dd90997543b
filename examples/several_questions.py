"""Ask several questions about one video: it is encoded once, and a session keeps what they share."""

import time

from video import video_and_question

from bvllm import Session, answer, encode_video, load_model

video, question = video_and_question()
nano = load_model("nano")
started = time.perf_counter()
encoded, session = encode_video(video, nano, fps=1.0), Session()
print(f"encoded {len(encoded)} frames in {time.perf_counter() - started:.2f} s")
for text in (question, "what colour is the star?", question):
    started = time.perf_counter()
    found = answer(encoded, text, nano, session=session)
    print(f"{text} {found.text} ({time.perf_counter() - started:.2f} s)")
encoded.close()  # the frames on disk are gone; they go with the process, too
