"""Make llava-nano: transformers' own LLaVA-OneVision at a laptop's size, taught the world's videos."""
