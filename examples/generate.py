"""Use the model as any Hugging Face model: Auto classes, a chat template, `generate` on a batch."""

from importlib.resources import files

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from video import video_and_question

import bvllm.hf  # noqa: F401 - tells the Auto classes of it

video, question = video_and_question()
folder = str(files("bvllm") / "assets/nano")  # or your own folder, or a hub id
model = AutoModelForImageTextToText.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder)
chats = [
    [{"role": "user", "content": [{"type": "video", "path": str(video)}, {"type": "text", "text": text}]}]
    for text in (question, "what colour is the star?")
]
inputs = processor.apply_chat_template(
    chats, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True, padding=True
)
with torch.inference_mode():
    ids = model.generate(**inputs, max_new_tokens=8)
for text in processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True):
    print(text.strip())
