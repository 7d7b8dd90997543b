"""Reproduce the paper's tables in miniature: what each module of B-VLLM is worth.

Every variant starts from the same warmed-up tower and language model, is trained by the same recipe on the
same world, and answers the same questions. `docs/reproduction.md` shows what came out.
"""
