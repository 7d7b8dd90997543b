"""Configure the baselines' connectors: two small records that reject what they do not know."""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isqrt
from typing import Any, ClassVar, NamedTuple


class Form(NamedTuple):
    """One of VideoLLaMA2's connectors: how it goes from fine to coarse.

    Attributes:
        convolve: down-sample by a 3-D convolution; by averaging otherwise.
        padding: zeros around the video on all three axes, for the convolution.
        downsample: frames, rows and columns that become one.
        depth: blocks of each RegStage; 0 leaves both out.
    """

    convolve: bool
    padding: int
    downsample: tuple[int, int, int]
    depth: int


# The names and numbers of the authors' released code.
FORMS = {
    "stc_connector": Form(True, 1, (2, 2, 2), 4),
    "stc_connector_v35": Form(True, 0, (2, 2, 2), 4),
    "stp_connector": Form(False, 0, (2, 2, 2), 4),
    "spatial_conv": Form(True, 1, (1, 2, 2), 0),
    "spatial_pool": Form(False, 0, (1, 2, 2), 0),
}
READERS = ("qformer", "bert")
CONTENTS = ("mean", "grid", "all")


@dataclass(frozen=True)
class LlamaVidConfig:
    """LLaMA-VID: one context token and a few content tokens for every frame.

    The reader's own shape (layers, heads, vocabulary) is `BVLLMConfig.spatial_qformer_config`. Behind
    B-VLLM's token sampler the projector alone is left: the reader and what it makes are not used then.

    Attributes:
        reader: "qformer" (what was released), or "bert", a decoder that reads patches with the words.
        queries: of the Q-Former.
        content: "mean" of all patches, a "grid" of means, or "all" patches.
        grid: cells on each side, for "grid".
        normalise: LayerNorm before the Q-Former, as where it starts from InstructBLIP's weights.
        reader_width: channels that the Q-Former reads, where the tower has others; a layer is put between.
        show_cls: let the Q-Former see [CLS] beside the patches, as it is with EVA ViT-g; "bert" never does.
        projector_layers: linear layers, GELU between them, from content to the language model.
        count_padding: reader "bert" averages over its words. True counts padding among them, as released.

    Raises:
        ValueError: a setting is out of range.

    Source: LLaMA-VID (arXiv 2311.17043), Sec. 3.

    Example:
        >>> LlamaVidConfig(content="grid", grid=4).tokens_per_frame(256)
        17
    """

    kind: ClassVar[str] = "llama_vid"

    reader: str = "qformer"
    queries: int = 32
    content: str = "mean"
    grid: int | None = None
    normalise: bool = True
    reader_width: int | None = None
    show_cls: bool = True
    projector_layers: int = 2
    count_padding: bool = False

    def __post_init__(self) -> None:
        _one_of("connector.reader", self.reader, READERS)
        _one_of("connector.content", self.content, CONTENTS)
        _at_least("connector.queries", self.queries, 1)
        _at_least("connector.projector_layers", self.projector_layers, 1)
        if (self.content == "grid") != (self.grid is not None):
            raise ValueError(
                f'connector.grid must be given with content="grid" only, got {self.grid} with '
                f"{self.content!r}: set both or neither"
            )
        if self.grid is not None:
            _at_least("connector.grid", self.grid, 2)

    @property
    def keeps_prefix(self) -> bool:
        """Whether the connector must be given what the tower puts before the patches."""
        return self.show_cls and self.reader == "qformer"

    def cell(self, patches: int) -> int:
        """Patches on each side of a cell of the grid.

        Raises:
            ValueError: the patches are not a square, or fewer than the cells.
        """
        side, cells = isqrt(patches), self.grid or 1
        if side * side != patches or cells > side:
            raise ValueError(
                f"connector.grid must cut a square of at least {cells} x {cells} patches, got {patches} "
                "patches: use a square tower or a coarser grid"
            )
        return side // cells

    def tokens_per_frame(self, patches: int) -> int:
        """One context token and the content. Where the cells leave a rest, the grid grows by what fits."""
        if self.content == "grid":
            return 1 + (isqrt(patches) // self.cell(patches)) ** 2
        return 1 + (patches if self.content == "all" else 1)


@dataclass(frozen=True)
class VideoLlama2Config:
    """VideoLLaMA2: frames become one block of space and time, read through convolutions.

    Attributes:
        form: one of `FORMS`.
        downsample: frames, rows and columns that become one; None takes the form's.
        depth: blocks in each of the two RegStages; None takes the form's.
        mlp_depth: linear layers of the readout, GELU between them.

    Raises:
        ValueError: a setting is out of range.

    Source: VideoLLaMA 2 (arXiv 2406.07476), Sec. 2.2 and Table 1.

    Example:
        >>> VideoLlama2Config().block(frames=8, rows=24, columns=24)
        (5, 13, 13)
    """

    kind: ClassVar[str] = "videollama2"

    form: str = "stc_connector"
    downsample: tuple[int, int, int] | None = None
    depth: int | None = None
    mlp_depth: int = 2

    def __post_init__(self) -> None:
        _one_of("connector.form", self.form, tuple(FORMS))
        if self.downsample is None:
            object.__setattr__(self, "downsample", FORMS[self.form].downsample)
        object.__setattr__(self, "downsample", tuple(self.downsample or ()))
        if self.depth is None:
            object.__setattr__(self, "depth", FORMS[self.form].depth)
        if len(self.strides) != 3:
            raise ValueError(
                f"connector.downsample must be (frames, rows, columns), got {self.downsample}: give three"
            )
        for stride in self.strides:
            _at_least("connector.downsample", stride, 1)
        _at_least("connector.depth", self.blocks, 0)
        _at_least("connector.mlp_depth", self.mlp_depth, 1)

    @property
    def strides(self) -> tuple[int, ...]:
        """`downsample`, filled in."""
        return self.downsample or ()

    @property
    def blocks(self) -> int:
        """`depth`, filled in."""
        return self.depth or 0

    @property
    def padding(self) -> int:
        """Zeros around the video on each axis before it is down-sampled."""
        return FORMS[self.form].padding

    def block(self, frames: int, rows: int, columns: int) -> tuple[int, int, int]:
        """Steps, rows and columns of the tokens that so many frames of patches become.

        Raises:
            ValueError: nothing would be left of an axis.
        """
        pairs = zip((frames, rows, columns), self.strides)
        steps, height, width = ((n + 2 * self.padding - k) // k + 1 for n, k in pairs)
        if min(steps, height, width) < 1:
            raise ValueError(
                f"connector.downsample must fit into the video, got {self.strides} for {frames} frames of "
                f"{rows} x {columns} patches: lower it, or take more frames"
            )
        return steps, height, width


ConnectorConfig = LlamaVidConfig | VideoLlama2Config
KINDS: dict[str, type[LlamaVidConfig] | type[VideoLlama2Config]] = {
    kind.kind: kind for kind in (LlamaVidConfig, VideoLlama2Config)
}


def connector_config(given: ConnectorConfig | Mapping[str, Any] | None) -> ConnectorConfig | None:
    """The typed record from itself, from what `connector_dict` made, or None.

    Raises:
        ValueError: the kind or a key is unknown, or a value is out of range.

    Example:
        >>> connector_config({"kind": "videollama2", "form": "spatial_pool"}).strides
        (1, 2, 2)
    """
    if given is None or isinstance(given, ConnectorConfig):
        return given
    settings = dict(given)
    kind = str(settings.pop("kind", None))
    _one_of("connector.kind", kind, tuple(KINDS))
    known = tuple(field.name for field in fields(KINDS[kind]))
    for name in settings:
        _one_of(f"a key of connector ({kind})", name, known)
    return KINDS[kind](**settings)


def connector_dict(config: ConnectorConfig) -> dict[str, Any]:
    """Plain values for JSON, with the kind."""
    settings = asdict(config)
    return {"kind": config.kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        raise ValueError(
            f"{what} must be one of {', '.join(known)}, got {value!r}: "
            + (f"did you mean {near[0]!r}?" if near else "use one of these")
        )


def _at_least(what: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} must be a whole number of at least {least}, got {value!r}: raise it")
