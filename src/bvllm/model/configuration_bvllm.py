"""Configure a B-VLLM: its parts, the paper's options, and the placeholders that a prompt reserves."""

import copy
import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, InstructBlipQFormerConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bvllm.methods import METHODS, NONE, PIPELINE, check_name
from bvllm.model.connectors.configuration import (
    ConnectorConfig,
    LlamaVidConfig,
    VideoLlama2Config,
    connector_config,
    connector_dict,
)
from bvllm.model.vision_tower import FINAL, patch_columns, patch_count, tower_of
from bvllm.stages.allocate import POLICIES
from bvllm.stages.method import Slot
from bvllm.stages.places import check_place_channels
from bvllm.stages.sample_tokens import TOKENS_PER_FRAME
from bvllm.types import Budget

OPTIONS = {
    "frame_feature": ("cls", "mean", "max", "qformer", "cls_mean"),
    "choice": ("gumbel", "softmax"),
    "tokens_policy": ("none", *POLICIES),
}
# What the slots were called before they could hold any method; these names are still read.
ALIASES = {"frame_selector": "select_frames", "token_sampler": "sample_tokens"}
# Slots that were switches: what True and False stand for.
SWITCHES: dict[Slot, tuple[str, str]] = {
    "merge_frames": ("similar", NONE),
    "merge_tokens": ("bipartite", NONE),
}
SPELLING = 0.8  # how alike a name must be to one of ours to be taken for a slip
COUNTS = ("num_selected_frames", "tokens_per_frame", "budget_tokens")


@dataclass(frozen=True)
class PlaceholderCount:
    """The most visual tokens a clip can turn into; the prompt holds that many placeholders for it.

    Selection and merging settle later how many are used. The model closes the gaps before the language model
    runs, so a slot too many costs nothing but ids. Processor and model both count with this rule.

    Attributes:
        frames: L*, frames that may be chosen.
        tokens_per_frame: R.
        budget_tokens: theta, tokens of one clip in all.
        choose: False where every frame is kept.
        merge_frames: False where two queries may spend tokens on the same frame.

    Example:
        >>> rule = PlaceholderCount(frames=32, tokens_per_frame=32, budget_tokens=512)
        >>> rule.count(1), rule.count(4), rule.count(3600)
        (32, 128, 512)
    """

    frames: int = 32
    tokens_per_frame: int = 32
    budget_tokens: int = 512
    choose: bool = True
    merge_frames: bool = True

    def count(self, frames: int) -> int:
        """Slots for a clip of so many sampled frames."""
        return min(self.rows(frames) * self.tokens_per_frame, self.budget_tokens)

    def rows(self, frames: int) -> int:
        """The most frames, repeats counted, that such a clip's tokens may come from."""
        if frames < 1:
            raise ValueError(f"a clip must have at least 1 frame, got {frames}: drop empty clips")
        if frames == 1:
            return 1
        if not self.choose:
            return frames
        return min(self.frames, frames) if self.merge_frames else self.frames


@strict
class BVLLMConfig(PreTrainedConfig):
    """Configuration of a B-VLLM: a vision tower, two Q-Formers, a language model, and the paper's numbers.

    Sub-configurations may be given as objects, as dictionaries with a `model_type`, or left out (CLIP
    ViT-B/32, InstructBLIP's Q-Former, Qwen2). What is given is copied, never changed; both Q-Formers are
    given the width of the tower, whose features they read.

    Args:
        vision_config: one of the towers of `bvllm.model.vision_tower.TOWERS`.
        frame_qformer_config: of the frame selector (Sec. 3.2); its width and depth also shape a "resampler".
        spatial_qformer_config: of the token sampler (Sec. 3.4).
        text_config: any decoder that `AutoModelForCausalLM` knows.
        num_selected_frames: L*, queries of the frame selector.
        tokens_per_frame: R, queries of the token sampler or cells of the pool. Where whole patches stay, it
            becomes N.
        budget_tokens: theta, visual tokens of one clip.
        tau: temperature of eq. 1; the released code has 0.5.
        gamma: cosine of eq. 2 at which two rows of S are the same, up to 1e-6.
        select_frames: a method of `bvllm.METHODS["select_frames"]`: "qformer", "resampler" (Table 4),
            "uniform", ..., or "none" (all frames). `frame_selector` is its older name.
        frame_feature: what the selector sees of a frame: "cls", the "mean" or "max" of its patches, or what
            one more query ("qformer") reads from them; "cls_mean" is [CLS] and mean together, at the cost of
            one. All but "cls" are made of the patches of `vision_feature_layer`.
        certainty: of the frames that the queries point at, those stay of which one is at least this sure,
            relative to the surest; L* is only the most. 0 is the paper's, all stay.
        least_strength: selection free of L* (the paper's future work, Sec. 8.2): every frame is chosen, at
            inference, to which the queries together give at least this share of what they give to the
            strongest one, as many as these are, up to theta. 0 is the paper's, a frame for each query.
        second_choices: queries that agree with a surer one choose the strongest frames that nobody chose, if
            these are at least so strong, relative to the strongest (see `take_second_choices`); 0 is the
            paper's, queries that agree merge. At inference, and in training where the selector is frozen.
        choice: how frames are chosen in training; at inference always the arg-max.
        merge_frames: "similar" (Sec. 3.3), "released" (as the authors' code has it), or "none": queries that
            agree spend their tokens twice. True and False are the older names of the first and the last.
        sample_tokens: a method: "qformer", "pool" (average pooling to R), "divprune", ..., or "none" (all
            patches). `token_sampler` is its older name.
        tokens_policy: how many tokens each frame may keep: "none" (R, or whatever the method keeps), "even"
            (a frame's share of the budget, theta over the frames that are left), "balanced" (by how sure the
            selection was of each), "quota" (by the square of that) or "content" (by that and by how much
            the frame shows). Of the sampler's queries the earlier ones are then the more important.
        adaptive_tokens: True is the older name of `tokens_policy="even"`.
        connector: a baseline's bridge to the language model: a `LlamaVidConfig` or a `VideoLlama2Config`, or
            its dictionary. With `sample_tokens="none"` it reads all patches, in place of token sampler and
            projector; with "qformer" the token sampler's R tokens take the place of its own (the paper's "w.
            Ours"), and its last layers bring them to the language model.
        merge_tokens: "bipartite" (Sec. 3.4, within each frame), another method ("tome" merges over the whole
            clip), or "none": tokens beyond the budget are thinned evenly. True and False are the older names
            of the first and the last.
        vision_feature_layer: hidden state of the tower that gives the patches: its number, 0 is the
            embeddings, or "final", what the tower gives behind its last LayerNorm. InstructBLIP's Q-Former
            was trained on "final"; LLaVA's projectors on -2. CLIP's last LayerNorm is for [CLS] alone.
        time_channels: width of the selector's knowledge of time; 0 is the paper's selector, which has none.
        place_channels: how many features of its place are added to a patch before a sampler or a connector
            reads it (see `PatchPlaces`), a multiple of 4; 0 adds none, as in the paper. What chooses frames
            reads patches without.
        clock: add the frame's time to its tokens, so that the language model can tell it.
        video_token_id: the placeholder in a prompt. The default is the first id after Qwen2's own.
        image_token_id: the same as the video's, as images are clips of one frame.
        projector_hidden_act: between the projector's two layers.
        initializer_range: of new weights.

    Raises:
        ValueError: an option is unknown, or a number is out of range.

    Source: B-VLLM (arXiv 2412.09919), Sec. 3 and 7.4. L* and R are 32 there (Sec. 7.4), and tau is 0.1
        (Sec. 3.2). theta and gamma have no stated default: Sec. 5.3 names gamma 0.5, 0.75 and 1 at a theta of
        768 (Fig. 3b), and Sec. 7.4 names none for its 32 x 32 tokens. Ours are 0.75 and 512, where Fig. 3c
        levels off (Sec. 5.3: gains "plateau at 512 tokens"). `time_channels`, `place_channels`,
        `clock`, `certainty`, `least_strength`, `second_choices`, `adaptive_tokens` and "cls_mean" are ours.

    Example:
        >>> BVLLMConfig(num_selected_frames=16, select_frames="uniform").budget
        Budget(tokens=512, frames=16)
    """

    model_type = "bvllm"
    attribute_map = ALIASES
    sub_configs = {
        "vision_config": AutoConfig,
        "frame_qformer_config": InstructBlipQFormerConfig,
        "spatial_qformer_config": InstructBlipQFormerConfig,
        "text_config": AutoConfig,
    }

    # A dictionary or None may be given; what is held is a configuration of any family, hence Any.
    vision_config: Any = None
    frame_qformer_config: Any = None
    spatial_qformer_config: Any = None
    text_config: Any = None
    num_selected_frames: int = 32
    tokens_per_frame: int = 32
    budget_tokens: int = 512
    tau: float = 0.1
    gamma: float = 0.75
    select_frames: str = "qformer"
    frame_feature: str = "cls"
    certainty: float = 0.0
    least_strength: float = 0.0
    second_choices: float = 0.0
    choice: str = "gumbel"
    merge_frames: str | bool = "similar"
    sample_tokens: str = "qformer"
    tokens_policy: str = "none"
    connector: Any = None  # held as a LlamaVidConfig, a VideoLlama2Config or None
    merge_tokens: str | bool = "bipartite"
    vision_feature_layer: int | str = -2
    time_channels: int = 0
    place_channels: int = 0
    clock: bool = True
    video_token_id: int = 151665
    image_token_id: int | None = None
    projector_hidden_act: str = "gelu"
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        self._read_older_names(kwargs)
        self.vision_config = _sub_config(self.vision_config, "clip_vision_model")
        self.frame_qformer_config = _sub_config(self.frame_qformer_config, "instructblip_qformer")
        self.spatial_qformer_config = _sub_config(self.spatial_qformer_config, "instructblip_qformer")
        self.text_config = _sub_config(self.text_config, "qwen2")
        if self.connector is not None:
            self.connector = connector_config(self.connector)
        for name, known in OPTIONS.items():
            _check_option(name, getattr(self, name), known)
        self._check_numbers()
        for reader in (self.frame_qformer_config, self.spatial_qformer_config):
            reader.encoder_hidden_size = self.vision_config.hidden_size
        if self.sample_tokens not in ("qformer", "pool"):  # whole patches stay, any number of each frame
            self.tokens_per_frame = patch_count(self.vision_config)
        if self.connector is not None:
            self._fit_connector(self.connector)
        if self.image_token_id is None:
            self.image_token_id = self.video_token_id
        # Saved with the text configuration of most language models; transformers looks for it here.
        self.tie_word_embeddings = self.tie_word_embeddings or bool(self.text_config.tie_word_embeddings)
        super().__post_init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """Check names and methods, wherever they come from: a constructor, a file, an assignment."""
        slot = ALIASES.get(name, name)
        self._check_spelling(slot)
        if slot in PIPELINE:
            value = check_name(slot, _method_name(slot, value))
        elif slot == "tokens_policy":
            _check_option(slot, value, OPTIONS[slot])
        super().__setattr__(slot, value)

    @classmethod
    def _check_spelling(cls, name: str) -> None:
        """Refuse a name that is nearly one of ours; other names are left to transformers, which has many."""
        own = {field.name for field in dataclasses.fields(cls)}
        if name in own or name.startswith("_") or hasattr(cls, name):
            return
        near = difflib.get_close_matches(name, own, n=1, cutoff=SPELLING)
        if near:
            raise ValueError(f"setting must be one that there is, got {name!r}: did you mean {near[0]!r}?")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As upstream; but what is given beside a saved configuration is checked, and fitted, with it."""
        own = {field.name for field in dataclasses.fields(cls)} - cls.sub_configs.keys()
        beside = {
            name: kwargs.pop(name) for name in list(kwargs) if name in {*own, *ALIASES, "adaptive_tokens"}
        }
        for old, new in ALIASES.items():  # a name given beside is meant, whatever the file calls it
            if new in beside:
                config_dict = {k: v for k, v in config_dict.items() if k != old}
        return super().from_dict({**config_dict, **beside}, **kwargs)

    @property
    def budget(self) -> Budget:
        """What one clip may cost where the caller names no budget of their own."""
        return Budget(tokens=self.budget_tokens, frames=self.most_frames)

    @property
    def most_frames(self) -> int:
        """How many frames of a clip may be chosen: L*, or theta where selection is free of it."""
        return self.budget_tokens if self.least_strength else self.num_selected_frames

    @property
    def placeholders(self) -> PlaceholderCount:
        """How many placeholders stand for a clip."""
        learned = self.select_frames != NONE and METHODS["select_frames"][self.select_frames].learned
        if (
            isinstance(self.connector, VideoLlama2Config) and self.connector_samples
        ):  # as many for any clip, as for one frame
            return PlaceholderCount(1, self._block_tokens(self.connector), self.budget_tokens)
        return PlaceholderCount(
            self.most_frames,
            self.tokens_per_frame,
            self.budget_tokens,
            choose=self.select_frames != NONE,
            merge_frames=self.merge_frames != NONE or not learned,  # others never name a frame twice
        )

    @property
    def token_methods(self) -> dict[str, str]:
        """What fills the two token slots, by slot."""
        return {"sample_tokens": self.sample_tokens, "merge_tokens": str(self.merge_tokens)}

    @property
    def connector_samples(self) -> bool:
        """Whether a connector makes the tokens of the patches, in place of token sampler and projector."""
        return self.connector is not None and self.sample_tokens == NONE

    slots = placeholders  # the name until 0.1, for one release

    @property
    def adaptive_tokens(self) -> bool:
        """The older name of `tokens_policy="even"`."""
        return self.tokens_policy == "even"

    @adaptive_tokens.setter
    def adaptive_tokens(self, value: bool) -> None:
        self.tokens_policy = "even" if value else NONE

    def with_methods(self, **methods: str | None) -> "BVLLMConfig":
        """The same model with other methods in some slots, checked as a new configuration is.

        Args:
            **methods: names by slot, or `tokens_policy`; None leaves one as it is.

        Raises:
            ValueError: a slot or a method is unknown, or does not go with the rest.
        """
        given = {name: value for name, value in methods.items() if value is not None}
        known = (*PIPELINE, "tokens_policy")
        for name in given:
            _check_option("a slot", name, known)
        if all(getattr(self, name) == value for name, value in given.items()):
            return self
        settings = self.to_dict() | given
        if given.get("sample_tokens") == "pool" and self.sample_tokens not in ("qformer", "pool"):
            # Whole patches have no R of their own to go by: the paper's.
            settings["tokens_per_frame"] = min(TOKENS_PER_FRAME, patch_count(self.vision_config))
        return type(self)(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        settings = super().to_dict()
        if isinstance(self.connector, ConnectorConfig):
            settings["connector"] = connector_dict(self.connector)
        return settings

    def _read_older_names(self, kwargs: dict[str, Any]) -> None:
        """Move what came under an older name to where it stands now; the older name wins where both came."""
        for old, new in ALIASES.items():
            if old in kwargs:
                setattr(self, new, kwargs.pop(old))
        adaptive = kwargs.pop("adaptive_tokens", None)
        if adaptive is not None and (adaptive or self.tokens_policy == "even"):
            self.tokens_policy = "even" if adaptive else NONE

    def _fit_connector(self, connector: ConnectorConfig) -> None:
        """What follows from a connector, and what does not go with it."""
        if self.sample_tokens == "qformer":
            return
        if self.sample_tokens != NONE:
            raise ValueError(
                f'sample_tokens must be "none" or "qformer" with a connector, got {self.sample_tokens!r}: '
                "the connector samples the patches itself, or reads the token sampler's queries"
            )
        if isinstance(connector, LlamaVidConfig):
            patches, columns = patch_count(self.vision_config), patch_columns(self.vision_config)
            if connector.content == "grid" and columns * columns != patches:
                raise ValueError(
                    f'connector.content must be "mean" or "all" on {patches // columns} x {columns} patches, '
                    'got "grid": LLaMA-VID\'s cells need a square tower'
                )
            self.tokens_per_frame = connector.tokens_per_frame(patches)
            if connector.reader_width is not None:
                self.spatial_qformer_config.encoder_hidden_size = connector.reader_width
            return
        if self.select_frames == NONE:
            raise ValueError(
                f'select_frames must choose with the connector {connector.kind}, got "none": '
                'it reads num_selected_frames frames, say "uniform" ones'
            )
        self._block_tokens(connector)

    def _block_tokens(self, connector: VideoLlama2Config) -> int:
        columns = patch_columns(self.vision_config)
        rows = patch_count(self.vision_config) // columns
        return math.prod(connector.block(self.num_selected_frames, rows, columns))

    def _check_numbers(self) -> None:
        tower_of(self.vision_config)
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}: raise it")
        if not self.tau > 0:
            raise ValueError(f"tau must be above 0, got {self.tau}: the paper uses 0.1")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must lie in (0, 1], got {self.gamma}: the paper names 0.5, 0.75 and 1")
        if not 0 <= self.certainty < 1:
            raise ValueError(f"certainty must lie in [0, 1), got {self.certainty}: 0 keeps all chosen frames")
        if not 0 <= self.least_strength <= 1:
            raise ValueError(
                f"least_strength must lie in [0, 1], got {self.least_strength}: 0 gives each query its frame"
            )
        if self.least_strength and isinstance(self.connector, VideoLlama2Config) and self.connector_samples:
            raise ValueError(
                f"least_strength must be 0 with the connector {self.connector.kind}, got "
                f"{self.least_strength}: it reads num_selected_frames frames"
            )
        if not 0 <= self.second_choices <= 1:
            raise ValueError(
                f"second_choices must lie in [0, 1], got {self.second_choices}: 0 leaves all as it was"
            )
        if self.tokens_policy != NONE and self.sample_tokens == "pool":
            raise ValueError(
                f'tokens_policy must be "none" with sample_tokens="pool", got {self.tokens_policy!r}: '
                "a pooled grid cannot lose some of its cells"
            )
        if self.tokens_policy != NONE and self.connector is not None:
            raise ValueError(
                f'tokens_policy must be "none" with a connector, got {self.tokens_policy!r}: '
                "a connector gives every frame as many tokens"
            )
        if self.time_channels < 0:
            raise ValueError(f"time_channels must be 0 or more, got {self.time_channels}: 0 switches it off")
        check_place_channels(self.place_channels)
        states, layer = self.vision_config.num_hidden_layers + 1, self.vision_feature_layer
        if isinstance(layer, str):
            if layer != FINAL:
                raise ValueError(
                    f'vision_feature_layer must be a number or "{FINAL}", got {layer!r}: '
                    "-2 is the last hidden state but one"
                )
        elif not -states <= layer < states:
            raise ValueError(
                f"vision_feature_layer must lie in {-states}..{states - 1}, got {layer}: "
                "-2 is the last hidden state but one"
            )


def _sub_config(given: dict | PreTrainedConfig | None, model_type: str) -> PreTrainedConfig:
    """A configuration of its own: ours get the tower's width, and the caller's stays unchanged."""
    if isinstance(given, PreTrainedConfig):
        return copy.deepcopy(given)
    settings = dict(given or {})
    return CONFIG_MAPPING[settings.pop("model_type", model_type)](**settings)


def _method_name(slot: Slot, value: str | bool) -> str:
    """The name of a method; a slot that was a switch may still be one."""
    if isinstance(value, bool) and slot in SWITCHES:
        on, off = SWITCHES[slot]
        return on if value else off
    return str(value)


def _check_option(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        raise ValueError(
            f"{name} must be one of {', '.join(known)}, got {value!r}: "
            + (f"did you mean {near[0]!r}?" if near else "use one of these")
        )
