"""Score a model on a small world with 95 % intervals, with its own frames and with evenly spaced ones."""

from video import FOLDER

from bvllm import Budget, evaluate
from bvllm.synthetic.make import make_world

world = FOLDER / "world"
make_world(world, split="test", count=3, seconds=(10, 40), seed=3, workers=1)
for select in ("learned", "uniform"):
    report = evaluate(world, budget=Budget(tokens=64, frames=4), select=select, circular=False)
    print(f"frames: {select}\n{report.table()}\n")
print("Three videos say little: see the intervals, and ask for more videos before believing an order.")
