"""Index a video once; then questions decode next to nothing, and a search finds moments by words."""

import time

from video import FOLDER, video_and_question

from bvllm import answer, indexed_video, load_model
from bvllm.asking.find import find_moments
from bvllm.asking.query import text_encoder_of
from bvllm.index import IndexFolder, TowerEncoder, index_video

video, question = video_and_question(seconds=120)
nano, folder = load_model("nano"), IndexFolder(FOLDER / "index")
for turn in ("first", "second"):
    started = time.perf_counter()
    found = answer(indexed_video(video, nano, folder), question, nano)
    print(f"{turn} question: {found.text} ({time.perf_counter() - started:.2f} s)")

query = "a red star"
entry = index_video(video, folder, TowerEncoder.of(nano))  # already there: read, not made again
for moment in find_moments([entry], query, nano, text_encoder_of("nano"), top=3).moments:
    print(f"{query}: {moment.score:.2f} at {moment.seconds:.0f} s")
