"""Source of models and trainers as the catalogue reads it: declared, never imported."""

MODELS = """
class LanguageModel: ...

class DecoderLM(LanguageModel):
    def __init__(self, vocabulary_size: int, width: int = 128, num_heads: int = 4,
                 dropout: float = 0.0, positions: str = "rotary", window: int | None = None): ...

class LSTMLM(LanguageModel):
    def __init__(self, vocabulary_size: int, width: int = 200): ...
"""

TRAINERS = """
@gin.configurable
@dataclasses.dataclass
class Experiment:
    model: Callable
    tokenizer: str = "bytes"
    vocabulary_size: int | None = None
    batch_size: int = 8
    strategy: Literal["one_device", "mirrored"] = "one_device"
    task: Any = None

@gin.configurable
def train(experiment, steps: int, optimizer=None, clip_norm: float = 1.0, jit: bool = True,
          callbacks: Sequence[Callable] = (), exclude: list[str] = ("bias",)): ...

@gin.configurable("files")
def text_files(train: Sequence[str] | str, *, mode: Literal["document", "line"] = "document"): ...

@gin.configurable
def text_to_text(source=None, metrics: Sequence[str] = (), labels: Sequence[str] = ()): ...

class Base:
    def __init__(self, every: int = 1): ...

@gin.configurable
class Report(Base):
    def __init__(self, path: str, **kwargs): ...

@gin.configurable
def anything(**kwargs): ...
"""
