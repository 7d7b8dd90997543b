"""LLaMA-VID's other text decoder: BERT, whose words read the patches (reader "bert")."""

from torch import Tensor, nn
from transformers import BertConfig, BertModel, InstructBlipQFormerConfig


class BertReader(nn.Module):
    """A causal BERT with cross-attention in every layer; each word of the question becomes a text query.

    Attributes:
        width: H, the channels of a text query.

    Args:
        config: shape of the reader; cross-attention reads states of width H.

    Source: LLaMA-VID (arXiv 2311.17043), Sec. 3.1 and its ablation of the text decoder.
    """

    def __init__(self, config: InstructBlipQFormerConfig) -> None:
        super().__init__()
        self.width: int = config.hidden_size
        self.max_question: int = config.max_position_embeddings
        self.model = BertModel._from_config(
            BertConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                intermediate_size=config.intermediate_size,
                hidden_act=config.hidden_act,
                hidden_dropout_prob=config.hidden_dropout_prob,
                attention_probs_dropout_prob=config.attention_probs_dropout_prob,
                max_position_embeddings=config.max_position_embeddings,
                layer_norm_eps=config.layer_norm_eps,
                initializer_range=config.initializer_range,
                pad_token_id=config.pad_token_id,
                is_decoder=True,
                add_cross_attention=True,
            ),
            add_pooling_layer=False,
        )

    def forward(self, states: Tensor, question_ids: Tensor | None, question_mask: Tensor | None) -> Tensor:
        """(F, N, H) patches and (F, Q) words -> (F, Q, H) text queries."""
        if question_ids is None:
            raise ValueError(
                "question_ids must be given with the reader 'bert', got None: its queries are the words"
            )
        mask = None if question_mask is None else question_mask[:, : self.max_question]
        return self.model(
            input_ids=question_ids[:, : self.max_question],
            attention_mask=mask,
            encoder_hidden_states=states,
            use_cache=False,
        ).last_hidden_state
