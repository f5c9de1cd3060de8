"""What is known of families of pretrained models beside KerasHub's metadata, a table of facts.

From each model's card, or the paper that is named. None is for what those do not say. Languages are ISO 639-1
codes of
those that a source names one by one.
"""

import dataclasses
import re

MORE = "+"  # among languages: and others


@dataclasses.dataclass(frozen=True)
class Family:
    """Facts of the presets whose names begin with what `pattern`, a regular expression, matches.

    Attributes:
      licence: its name, as its publisher calls it.
      context: the most tokens that it was trained to read.
      languages: codes, separated by spaces.
      model_type: of config.json, for checkpoints of Transformers.
      active: parameters that a token passes through, of a mixture of experts.
    """

    pattern: str
    licence: str | None = None
    context: int | None = None
    languages: str | None = None
    model_type: str | None = None
    active: float | None = None


GEMMA = "Gemma terms of use"
LLAMA = "Llama {} Community License"
APACHE = "Apache 2.0"
RAIL = "BigScience RAIL 1.0"
LLAMA_3_LANGUAGES = "en de fr it pt hi es th"
QWEN = "zh en fr es pt de it ru ja ko vi th ar " + MORE
# Qwen3 Technical Report, table 12; those of two letters.
QWEN_3 = (
    "en fr pt de ro sv da bg ru cs el uk es nl sk hr pl lt nb nn fa sl gu lv it oc ne mr be sr lb as "
    "cy sd ga fo hi pa bn or tg yi li sc gl ca is sq af mk si ur bs hy zh my ar he mt id ms tl jv su "
    "ta te kn ml tr az uz kk ba tt th lo fi et hu vi km ja ko ka eu ht sw " + MORE
)
# The languages of ROOTS, of the card of bigscience/bloom; of two letters.
BLOOM = (
    "ak ar as bm bn ca en es eu fr gu hi id ig ki kn lg ln ml mr ne ny or pa pt rn rw sn st sw ta te "
    "tn ts ur vi wo xh yo zh zu " + MORE
)

# The first that matches.
FAMILIES = (
    # Radford et al. 2019; the card of openai-community/gpt2.
    Family("gpt2_", "MIT", 1024, "en", "gpt2"),
    # Zhang et al. 2022.
    Family("opt_", "OPT-175B license", 2048, "en", "opt"),
    # Scao et al. 2022; Muennighoff et al. 2023.
    Family("bloom", RAIL, 2048, BLOOM, "bloom"),
    # Penedo et al. 2023.
    Family("falcon_refinedweb_", APACHE, 2048, "en", "falcon"),
    # Touvron et al. 2023b; the card of Vicuna 1.5.
    Family("(llama2|vicuna_1.5)_", LLAMA.format(2), 4096, "en", "llama"),
    # Grattafiori et al. 2024, and the cards of Llama 3, 3.1 and 3.2.
    Family("llama3_", LLAMA.format(3), 8192, "en", "llama"),
    Family("llama3.1_", LLAMA.format(3.1), 131072, LLAMA_3_LANGUAGES, "llama"),
    Family("llama3.2_", LLAMA.format(3.2), 131072, LLAMA_3_LANGUAGES + " " + MORE, "llama"),
    # Jiang et al. 2023, table 1; later versions by their config.json.
    Family("mistral_(0.2|0.3)_", APACHE, 32768, "en", "mistral"),
    Family("mistral_", APACHE, 8192, "en", "mistral"),
    Family("magistral_", APACHE, None, None, "mistral"),
    # Jiang et al. 2024.
    Family("mixtral_8_", APACHE, 32768, "en fr it de es", "mixtral", 12.9e9),
    # Gemma Team 2024a, 2024b, 2025, and their cards, which list no languages of Gemma 3.
    Family("(code_)?gemma_", GEMMA, 8192, "en", "gemma"),
    Family("gemma2_", GEMMA, 8192, "en", "gemma2"),
    Family("vault_gemma_", GEMMA, 1024, "en", "vaultgemma"),
    Family("gemma3_(instruct_)?(270m|1b)", GEMMA, 32768, "en " + MORE, "gemma3_text"),
    Family("gemma3_", GEMMA, 131072, "en " + MORE, "gemma3_text"),
    Family("function_gemma_", GEMMA, 32768, "en", "gemma3_text"),
    Family("medgemma_", "Health AI Developer Foundations terms", 131072, "en", "gemma3_text"),
    # Abdin et al. 2024.
    Family("phi3_mini_4k", "MIT", 4096, "en", "phi3"),
    Family("phi3_mini_128k", "MIT", 131072, "en", "phi3"),
    # Qwen2.5 Technical Report, table 1; Hui et al. 2024; Yang et al. 2024.
    Family("qwen2.5_(coder_)?(instruct_)?3b", "Qwen Research License", 32768, QWEN, "qwen2"),
    Family("qwen2.5_instruct_72b", "Qwen License", 131072, QWEN, "qwen2"),
    Family("qwen2.5_math_", APACHE, 4096, "en zh", "qwen2"),
    Family("qwen2.5_(coder_)?(instruct_)?(0.5|1.5)b", APACHE, 32768, QWEN, "qwen2"),
    Family("qwen2.5_", APACHE, 131072, QWEN, "qwen2"),
    Family("qwen1.5_moe_", "Tongyi Qianwen License", 8192, None, "qwen2_moe", 2.7e9),
    # Yang et al. 2025; contexts without YaRN.
    Family("qwen3_coder_instruct_30b", APACHE, 262144, None, "qwen3_moe", 3.3e9),
    Family("qwen3_moe_30b", APACHE, 32768, QWEN_3, "qwen3_moe", 3.3e9),
    Family("qwen3_moe_235b", APACHE, 32768, QWEN_3, "qwen3_moe", 22e9),
    Family("qwen3_[0-9.]+b_en", APACHE, 32768, QWEN_3, "qwen3"),
    # Its card.
    Family("smollm3_", APACHE, 65536, "en fr es de it pt " + MORE, "smollm3"),
    # OpenAI 2025, and KerasHub's metadata.
    Family("gpt_oss_20b", APACHE, 131072, None, "gpt_oss", 3.6e9),
    Family("gpt_oss_120b", APACHE, 131072, None, "gpt_oss", 5.1e9),
    # Raffel et al. 2020, the T5 1.1 of its repository, and Chung et al. 2022; of FLAN the languages
    # that T5's vocabulary can write.
    Family("t5_1.1_", APACHE, 512, "en", "t5"),
    Family("(t5|flan)_", APACHE, 512, "en fr ro de", "t5"),
    # Lewis et al. 2020, and their cards.
    Family("bart_large_en_cnn", "MIT", 1024, "en", "bart"),
    Family("bart_", APACHE, 1024, "en", "bart"),
    # Zhang et al. 2025.
    Family("t5gemma_", GEMMA, 8192, "en", "t5gemma"),
)

UNKNOWN = Family("")


def family_of(name):
    """The Family of a preset; one without any facts where none matches."""
    return next((family for family in FAMILIES if re.match(family.pattern, name)), UNKNOWN)
