"""List the wordings of the busy world's questions, for the tokenizer and for what a model says it knows."""

from bvllm.synthetic.busy.things import words_of_scenes

SAYS = ("when the sign says {}, ", "in the scene with the sign {}, ")  # which scene is asked about
# `{}` stands for names, colours, labels and places.
STEMS = (
    "which colour is the {}?", "which of {} is left of the {}?", "which of {} is right of the {}?",
    "which of {} is above the {}?", "which of {} is below the {}?", "how many {} things are there?",
    "how many times is a {} there?", "what does the {} sign say?", "what does the sign {} the {} say?",
    "which thing is the odd one out?", "what is at the {}?", "which way does the {} move?",
    "which of {} comes later than the other things?", "which of the signs {} is shown first?",
    "which of the signs {} is shown last?", "when does the sign {} appear?",
    "which of the signs {} comes right after the sign {}?",
    "which of the signs {} comes right before the sign {}?",
    "in how many scenes is the sign {} shown?", "when the sign says {}, what is at the {}?",
    "in the scene with the sign {}, list all at the {}.",
)  # fmt: skip


# Those that no scene is named for: they ask where scenes stand among others.
OF_THE_WHOLE = (
    "which of the signs",
    "when does",
    "in how many",
    "when the sign says",
    "in the scene",
)


def asked_stems() -> list[str]:
    """Every wording as it is asked: which scene, where the question is about one."""
    whole = [stem for stem in STEMS if stem.startswith(OF_THE_WHOLE)]
    return [*whole, *(says + stem for says in SAYS for stem in STEMS if stem not in whole)]


def busy_words() -> list[str]:
    """Every word of the questions and of what things are told in."""
    return [*words_of_scenes(), *STEMS]
