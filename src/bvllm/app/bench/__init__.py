"""`bvllm bench`: what the engine promises about speed and memory, against plain peers in the same run."""
