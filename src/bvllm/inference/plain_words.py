"""Take from a user's words what a tokenizer would read as a command."""

from transformers import PreTrainedTokenizerBase


def plain_words(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The user's words without anything that the tokenizer would take for a command."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, " ")
    return text


def plain_length(text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens the user's words become, in the middle of a prompt."""
    return len(tokenizer(plain_words(text, tokenizer), add_special_tokens=False)["input_ids"])
