"""Serve one model over HTTP in the shape of OpenAI's API; see docs/serving.md."""
