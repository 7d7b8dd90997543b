"""Teach nano with a LoRA adapter to say every answer twice, on four questions, and see the loss fall."""

import torch
from peft import LoraConfig, get_peft_model
from video import FOLDER

from bvllm import load_model
from bvllm.data.chat import read_rows
from bvllm.synthetic.make import make_world

world = FOLDER / "train"
make_world(world, split="train", count=1, seconds=(10, 10), seed=5, workers=1)
nano = load_model("nano")
batches = []
for row in read_rows(world / "train.jsonl"):
    video = {"type": "video", "path": str(world / row.video)}
    asked = {"role": "user", "content": [video, {"type": "text", "text": row.question}]}
    said = {
        "role": "assistant",
        "content": [{"type": "text", "text": f"{row.open_answer} {row.open_answer}"}],
    }
    told = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    batch = nano.processor.apply_chat_template([asked, said], **told)
    before = nano.processor.apply_chat_template([asked], add_generation_prompt=True, **told)
    labels = batch["input_ids"].clone()
    labels[:, : before["input_ids"].shape[1]] = -100  # only the answer teaches
    batches.append({**batch, "labels": labels})

adapter = LoraConfig(r=4, target_modules=r"model\.language_model\.layers\.\d+\.self_attn\.(q|v)_proj")
model = get_peft_model(nano.model, adapter).train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
losses = []
for _ in range(8):
    total = torch.stack([model(**batch).loss for batch in batches]).mean()
    total.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(float(total.detach()))
print("loss:", " ".join(f"{loss:.2f}" for loss in losses))
model.save_pretrained(FOLDER / "adapter")
assert losses[-1] < losses[0]
