"""Take from a user's words what a tokenizer would read as a command."""

from transformers import PreTrainedTokenizerBase


def plain_words(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The user's words without anything that the tokenizer would take for a command."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, " ")
    return text
