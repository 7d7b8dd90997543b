"""Fill a slot of the pipeline with every method that has no weights, at one budget."""

from video import video_and_question

from bvllm import METHODS, Budget, answer, encode_video, load_model

video, question = video_and_question()
nano = load_model("nano")
encoded, budget = encode_video(video, nano), Budget(tokens=32, frames=8)
print(question)
for slot in ("select_frames", "merge_tokens"):
    for name, method in METHODS[slot].items():
        if not method.learned and not method.needs:  # some ask for what another family gives
            found = answer(encoded, question, nano, budget=budget, **{slot: name})
            times = " ".join(f"{frame.seconds:.0f}" for frame in found.frames)
            print(f"{slot}={name:10} {found.text:12} {found.tokens} tokens, frames at {times} s")
