"""Trace every token back to its frame and patches, and write the page that shows it."""

from video import FOLDER, video_and_question

from bvllm import answer, encode_video, load_model
from bvllm.inference.evidence import write_evidence

video, question = video_and_question()
nano = load_model("nano")
encoded = encode_video(video, nano)
found = answer(encoded, question, nano, merge_tokens="tome")

tokens = found.visual.tokens[0]
origin = tokens.origin  # weights: tokens x (patches of the chosen frames)
first = origin.input[origin.output == 0]
print(
    f"{len(tokens)} tokens from {origin.inputs} patches; the first stands on frame {int(tokens.frame[0])}, "
)
print(f"at {float(tokens.seconds[0]):.1f} s, and is made of {len(first)} patches")
print("open", write_evidence(FOLDER / "evidence.html", encoded, found))
