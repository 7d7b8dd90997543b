"""Ask a question and see what the answer rests on: frames, their times, their tokens."""

from video import video_and_question

from bvllm import Budget, ask, load_model

video, question = video_and_question()
answer = ask(video, question, load_model("nano"), budget=Budget(tokens=64, frames=8))

print(f"{question} {answer.text}")
print(f"{answer.frames_total} frames were sampled, {len(answer.frames)} chosen, {answer.tokens} tokens used")
for frame, tokens in zip(answer.frames, answer.tokens_per_frame):
    print(f"  {frame.seconds:5.1f} s  {tokens} tokens, selector's share {frame.score:.2f}")
assert answer.tokens <= 64
