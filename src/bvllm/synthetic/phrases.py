"""Word the questions: a few phrases for each task, `{}` where a needle's name goes."""

from bvllm.synthetic.needles import Caption, Picture, Sticker

STEMS = {
    "counting_edit1": ("how many times does a {} appear?", "how often does the {} appear in the video?"),
    "counting_edit2": (
        "how many copies of the {} appear in total?",
        "what is the total number of the {} in the video?",
    ),
    "counting_insert": (
        "how many times is a picture of the {} inserted?",
        "how often is the {} picture shown?",
    ),
    "colour": ("which colour is the {}?", "what is the colour of the {} in the video?"),
    "position": ("where in the picture is the {}?", "where does the {} appear in the frame?"),
    "direction": ("in which direction does the {} move?", "which way does the {} move?"),
}
EXISTENCE_STEMS = {
    Sticker: ("does a {} appear in the video?", "is there a {} in the video?"),
    Caption: ("is the word {} written in the video?", "does the word {} appear in the video?"),
    Picture: ("is a picture of the {} inserted in the video?", "is there a {} picture in the video?"),
}
WHEN_STEMS = {
    Sticker: ("when does the {} appear?", "at what time does the {} appear?"),
    Caption: ("when is the word {} written?", "at what time is the word {} shown?"),
    Picture: ("when is the picture of the {} inserted?", "at what time is the {} picture shown?"),
}
WHOLE_STEMS = {
    "retrieval_edit": ("which word is written in the video?", "what is the written word?"),
    "retrieval_insert1": (
        "which item is shown in the inserted picture?",
        "what item does the inserted picture show?",
    ),
    "retrieval_insert2": (
        "which landmark is shown in the inserted picture?",
        "what landmark does the inserted picture show?",
    ),
    "ordering_edit": ("in which order are the words written?", "what is the order of the written words?"),
    "ordering_insert1": (
        "in which order are the items inserted?",
        "what is the order of the pictures of items?",
    ),
    "ordering_insert2": (
        "in which order are the landmarks inserted?",
        "what is the order of the pictures of landmarks?",
    ),
}


def all_stems() -> list[str]:
    """Every wording of every question."""
    return [
        stem
        for table in (STEMS, EXISTENCE_STEMS, WHEN_STEMS, WHOLE_STEMS)
        for stems in table.values()
        for stem in stems
    ]
