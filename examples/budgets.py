"""Spend less and less on the same question: no answer takes more tokens than its budget."""

from video import video_and_question

from bvllm import Budget, answer, encode_video, load_model

video, question = video_and_question()
nano = load_model("nano")
encoded = encode_video(video, nano)
print(f"{question}\nbudget  used  frames  answer")
for tokens in (256, 64, 16, 4, 1):
    found = answer(encoded, question, nano, budget=Budget(tokens=tokens, frames=32))
    assert found.tokens <= tokens
    print(f"{tokens:6}  {found.tokens:4}  {len(found.frames):6}  {found.text}")
