"""Build nano's tokenizer and chat template: a token for every word of the world, letters for others."""

import re
import string

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bvllm.data.chat import LETTERS
from bvllm.synthetic import phrases, vocabulary
from bvllm.synthetic.busy.phrases import busy_words
from bvllm.synthetic.sampling import NUMBER_WORDS

PAD, UNKNOWN, USER, ASSISTANT, END, VIDEO = (
    "<|pad|>",
    "<|unk|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|video|>",
)
_TEXT_OF_REPLY = (
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
)
_PARTS_OF_QUESTION = (
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('video', 'image') %}" + VIDEO +
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
)  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{% set said %}" + ASSISTANT + "{% endset %}{{ said }}"
    "{% generation %}" + _TEXT_OF_REPLY + END + "{% endgeneration %}"
    "{% else %}" + USER + _PARTS_OF_QUESTION +
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)  # fmt: skip

MARKS = [f"{letter}." for letter in LETTERS] + [f"({letter})" for letter in LETTERS]
PUNCTUATION = "?!,.;:='\"()-"
COMMON_WORDS = (
    "nothing happens that word picture moving yes no you see tell me please list all describe what and or "
    "with show shows"
).split()


def world_words(*, busy: bool = True) -> list[str]:
    """Every word that the world's questions and answers can hold, those about busy scenes, too, if wanted."""
    text = " ".join([
        *vocabulary.COLOURS, *vocabulary.SHAPES, *vocabulary.WORDS, *vocabulary.ITEMS, *vocabulary.LANDMARKS,
        *vocabulary.CORNERS, *vocabulary.DIRECTIONS, *NUMBER_WORDS.values(), *COMMON_WORDS,
        *phrases.all_stems(), *(busy_words() if busy else ()),
    ])  # fmt: skip
    return sorted(set(re.findall(r"[a-z]{2,}", text.lower())))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, made from the world's vocabulary alone; the same every time."""
    numbers = [f"{n:02d}" for n in range(60)] + [str(n) for n in range(10)]
    letters = [
        *string.ascii_lowercase,
        *(f"##{c}" for c in string.ascii_lowercase),
        *(f"##{d}" for d in string.digits),
    ]
    pieces = [PAD, UNKNOWN, *PUNCTUATION, *numbers, *letters, *world_words()]
    vocabulary_ids = {piece: k for k, piece in enumerate(dict.fromkeys(pieces))}
    core = Tokenizer(models.WordPiece(vocabulary_ids, unk_token=UNKNOWN, continuing_subword_prefix="##"))
    core.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    core.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\d{1,2}|[a-z]+|[^\sa-z\d]"), behavior="removed", invert=True
    )
    # Marks join the word before them as they come, so that what is decoded first stays as more follows. A
    # clock's colon joins the number behind it, too.
    core.decoder = decoders.Sequence([
        *(decoders.Replace(mark, f"##{mark}") for mark in ",:?"),
        decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(),
        decoders.Replace(Regex(r"(?<=\d): (?=\d)"), ":"), decoders.Replace("##", ""),
    ])  # fmt: skip
    core.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, VIDEO],
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
