"""List the wordings of the busy world's questions, for the tokenizer and for what a model says it knows."""

from bvllm.synthetic.busy.things import words_of_scenes

# `{}` stands for names, colours, labels and places.
STEMS = (
    "which colour is the {}?", "what is {} the {}?", "what is left of the {}?", "what is right of the {}?",
    "what is above the {}?", "what is below the {}?", "how many {} things are there?",
    "how many times is a {} there?", "what does the {} sign say?", "what does the sign {} the {} say?",
    "which thing is the odd one out?", "what is at the {}?", "which way does the {} move?",
    "what comes later than the other things?", "which of the signs {} is shown first?",
    "which of the signs {} is shown last?", "when does the sign {} appear?",
    "which sign comes right after the sign {}?", "which sign comes right before the sign {}?",
    "in how many scenes is the sign {} shown?", "when the sign says {}, what is at the {}?",
    "in the scene with the sign {}, list all at the {}.",
)  # fmt: skip


def busy_words() -> list[str]:
    """Every word of the questions and of what things are told in."""
    return [*words_of_scenes(), *STEMS]
