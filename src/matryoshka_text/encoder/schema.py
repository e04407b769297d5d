"""What the JSON files of a saved model may say: the keys that the libraries and we compute with, with bounds.

Unknown keys are left alone: other families and later releases have more. Values outside the bounds are those of no
encoder, and would cost minutes or gigabytes before a library said so.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from packaging.version import Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from matryoshka_text.errors import shown
from matryoshka_text.yaml_lines import dotted

__all__ = ["MODULES", "SCHEMAS", "Foreign", "ModuleEntry", "TransformersConfig", "faults_of_json"]

Width = Annotated[int, Field(ge=1, le=2**16)]
Depth = Annotated[int, Field(ge=1, le=1000)]
Words = Annotated[int, Field(ge=1, le=2**24)]
Place = Annotated[int, Field(ge=0, le=2**24)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Mode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
Token = Text | dict[str, Any] | None
Release = Annotated[str, AfterValidator(lambda found: str(Version(found)) and found)]
# Tokenizers without a limit write 1e30.
Tokens = Annotated[int | float, Field(gt=0)]


class Foreign(BaseModel):
    """A file of other people's tools: what we know of it is checked, the rest is theirs."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)


class TransformersConfig(Foreign):
    """config.json of transformers."""

    model_type: Text
    hidden_size: Width | None = None
    dim: Width | None = None
    embedding_size: Width | None = None
    num_hidden_layers: Depth | None = None
    n_layers: Depth | None = None
    num_attention_heads: Width | None = None
    n_heads: Width | None = None
    intermediate_size: Annotated[int, Field(ge=1, le=2**20)] | None = None
    hidden_dim: Annotated[int, Field(ge=1, le=2**20)] | None = None
    vocab_size: Words | None = None
    max_position_embeddings: Annotated[int, Field(ge=-1, le=2**24)] | None = None
    type_vocab_size: Annotated[int, Field(ge=0, le=2**16)] | None = None
    num_labels: Annotated[int, Field(ge=0, le=2**20)] = 0
    pad_token_id: Place | None = None
    bos_token_id: Place | None = None
    eos_token_id: Place | list[Place] | None = None
    chunk_size_feed_forward: Place = 0
    hidden_dropout_prob: Share | None = None
    attention_probs_dropout_prob: Share | None = None
    dropout: Share | None = None
    attention_dropout: Share | None = None
    layer_norm_eps: Share | None = None
    initializer_range: Share | None = None
    hidden_act: Text | None = None
    activation: Text | None = None
    dtype: str | None = None
    torch_dtype: str | None = None
    architectures: list[str] | None = None
    tie_word_embeddings: bool | None = None
    is_decoder: bool = False
    add_cross_attention: bool = False
    use_cache: bool | None = None
    auto_map: dict[str, Any] | None = None
    id2label: dict[str, Any] | None = None
    matryoshka_layers: list[Depth] | None = None


class ModuleEntry(Foreign):
    """One module in modules.json."""

    idx: Place
    name: str
    path: str
    type: Text


class Pooling(Foreign):
    """A Pooling's config.json, in the first releases' words and in today's; its class takes no other word."""

    model_config = ConfigDict(extra="forbid")

    embedding_dimension: Width | None = None
    word_embedding_dimension: Width | None = None
    pooling_mode: Mode | Annotated[list[Mode], Field(min_length=1)] | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False
    include_prompt: bool = True

    @model_validator(mode="after")
    def _has_a_width(self) -> Self:
        if not (self.embedding_dimension or self.word_embedding_dimension):
            raise ValueError("embedding_dimension, the width of the token states")
        return self


class Dense(Foreign):
    """A Dense's config.json."""

    in_features: Width
    out_features: Width
    bias: bool = True
    activation_function: Text = "torch.nn.Tanh"
    use_residual: bool = False
    module_input_name: str | None = None
    module_output_name: str | None = None


class Normalize(Foreign):
    """A Normalize's config.json; the first releases write none."""

    module_input_name: Text | None = None
    module_output_name: Text | None = None


class SentenceConfig(Foreign):
    """sentence_bert_config.json and its siblings of the first releases."""

    max_seq_length: Annotated[int, Field(ge=1)] | None = None
    do_lower_case: bool | None = None
    query_length: Annotated[int, Field(ge=1)] | None = None
    document_length: Annotated[int, Field(ge=1)] | None = None
    transformer_task: Text | None = None
    modality_config: dict[str, dict[str, Any]] | None = None
    module_output_name: Text | None = None
    processing_kwargs: dict[str, dict[str, Any]] | None = None
    query_expansion: dict[str, Any] | bool | None = None
    unpad_inputs: bool | None = None

    @model_validator(mode="after")
    def _names_its_output(self) -> Self:
        if self.modality_config is not None and self.module_output_name is None:
            raise ValueError("module_output_name next to modality_config, such as token_embeddings")
        return self


class SentenceTransformersConfig(Foreign):
    """config_sentence_transformers.json."""

    prompts: dict[str, str] | None = None
    version: dict[str, Release | None] = Field(default={}, alias="__version__")
    default_prompt_name: str | None = None
    similarity_fn_name: Literal["cosine", "dot", "euclidean", "manhattan"] | None = None
    truncate_dim: Width | None = None

    @model_validator(mode="after")
    def _has_its_default(self) -> Self:
        names = {"query", "document", *(self.prompts or {})}
        if self.default_prompt_name is not None and self.default_prompt_name not in names:
            raise ValueError(f"a default_prompt_name of its prompts: {', '.join(sorted(names))}")
        return self


class TokenizerConfig(Foreign):
    """tokenizer_config.json."""

    model_max_length: Tokens | None = None
    padding_side: Literal["left", "right"] = "right"
    truncation_side: Literal["left", "right"] = "right"
    tokenizer_class: Text | None = None
    model_input_names: list[str] | None = None
    auto_map: dict[str, Any] | None = None
    added_tokens_decoder: dict[str, dict[str, Any]] | None = None
    pad_token: Token = None
    unk_token: Token = None
    cls_token: Token = None
    sep_token: Token = None
    mask_token: Token = None
    bos_token: Token = None
    eos_token: Token = None
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    chat_template: str | list[dict[str, str]] | dict[str, str] | None = None


class AdapterConfig(Foreign):
    """adapter_config.json of peft."""

    base_model_name_or_path: Text
    revision: Text | None = None
    peft_type: Literal["LORA", "ADALORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3", "HRA", "VERA", "FOURIERFT"]
    r: Place | None = None
    rank_pattern: dict[str, Width] | None = None
    target_modules: Text | list[Text] | None = None
    modules_to_save: list[Text] | None = None


class Index(Foreign):
    """model.safetensors.index.json: the file that holds each weight."""

    weight_map: dict[str, Text]


# By file; a module's config.json by the module's kind.
SCHEMAS: dict[str, type[Foreign]] = {
    "sentence_*_config.json": SentenceConfig,
    "config_sentence_transformers.json": SentenceTransformersConfig,
    "tokenizer_config.json": TokenizerConfig,
    "adapter_config.json": AdapterConfig,
    "*.safetensors.index.json": Index,
}
MODULES: dict[str, type[Foreign]] = {"Pooling": Pooling, "Dense": Dense, "Normalize": Normalize}
_ALLOWED = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "missing": "this key with a value",
}


def faults_of_json(schema: type[Foreign], found: Any) -> Iterator[str]:
    """`key: found …; allowed: …` for each value that `schema` does not allow."""
    try:
        schema.model_validate(found)
    except ValidationError as error:
        for key, detail in {_key(schema, one["loc"]): one for one in reversed(error.errors(include_url=False))}.items():
            missing = detail["type"] == "missing"
            has = "nothing" if missing else shown(detail["input"])
            if detail["type"] == "extra_forbidden":
                yield f"{key}: found an unknown key; allowed: {', '.join(schema.model_fields)}"
                continue
            yield f"{key + ': ' if key else ''}found {has}; allowed: {_allowed(detail['type'], detail['msg'])}"


def _key(schema: type[Foreign], loc: tuple[int | str, ...]) -> str:
    """The key in the file, without the branches of unions that pydantic puts behind it."""
    branches = ("str", "int", "float", "bool", "list[", "dict[", "literal[", "function-", "constrained", "nullable")
    return dotted(tuple(part for place, part in enumerate(loc) if not place or not str(part).startswith(branches)))


def _allowed(kind: str, message: str) -> str:
    for word, text in _ALLOWED.items():
        if kind in (word, f"{word}_type"):
            return text
    return message.removeprefix("Input should be ")
