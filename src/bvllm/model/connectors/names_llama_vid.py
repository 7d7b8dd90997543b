"""Map LLaMA-VID's released names of weights to ours.

| released (below `model.`) | ours (below `connector.`) |
|---|---|
| `mm_projector.0`, `.2`, ... (a single layer: `mm_projector`) | `content_proj.0`, `.2`, ... |
| `vlm_att_query` (1, n, H) | `reader.queries.weight` (n, H) |
| `vlm_att_encoder.bert.*` | `reader.model.*`, attention's `self` called `attention` in the Q-Former |
| `vlm_att_ln` | `reader_norm` |
| `vlm_att_bert_proj` | `reader_proj` |
| `vlm_att_projector` | `query_proj` |
| `vlm_att_key_projector` | `key_proj` |
| `vlm_att_val_projector` | `context_proj` |
| `vlm_att_encoder.bert.embeddings.position_ids` | nothing: 0, 1, 2, ... |
"""

from collections.abc import Mapping

from torch import Tensor

PARTS = {
    "vlm_att_ln": "reader_norm",
    "vlm_att_bert_proj": "reader_proj",
    "vlm_att_projector": "query_proj",
    "vlm_att_key_projector": "key_proj",
    "vlm_att_val_projector": "context_proj",
}
READER = "vlm_att_encoder.bert."
COUNTED = ("position_ids", "token_type_ids")  # buffers that hold nothing learned
PREFIXES = ("mm_projector", "vlm_att_")


def llama_vid_weights(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LLaMA-VID's connector weights by the names of `LlamaVidConnector`.

    Args:
        released: by the authors' names, without the leading `model.`.

    Raises:
        ValueError: a name is not in the table.

    Example:
        >>> import torch
        >>> list(llama_vid_weights({"vlm_att_ln.weight": torch.ones(4)}))
        ['reader_norm.weight']
    """
    qformer = "vlm_att_query" in released
    made = {}
    for name, value in released.items():
        if name.startswith(READER) and name.rsplit(".", 1)[-1] in COUNTED:
            continue
        ours = rename_llama_vid(name, qformer=qformer)
        if ours is None:
            raise ValueError(
                f"a LLaMA-VID connector's weight must have a name that its release uses, got {name!r}: "
                "docs/connectors.md lists them"
            )
        made[ours] = value[0] if name == "vlm_att_query" else value
    return made


def rename_llama_vid(name: str, *, qformer: bool) -> str | None:
    """One name, without the leading `model.`; None where the table does not have it.

    Args:
        name: the authors'.
        qformer: whether the reader is a Q-Former, whose attention transformers names otherwise than BERT's.
    """
    part, _, rest = name.partition(".")
    if name == "vlm_att_query":
        return "reader.queries.weight"
    if name.startswith(READER):
        inner = name.removeprefix(READER)
        if qformer:
            inner = inner.replace(".self.", ".attention.")
            inner = inner.replace("embeddings.LayerNorm", "embeddings.layernorm")
        return f"reader.model.{inner}"
    if part == "mm_projector" and rest:
        return f"content_proj.{rest}" if rest[0].isdigit() else f"content_proj.0.{rest}"
    return f"{PARTS[part]}.{rest}" if part in PARTS and rest else None
