"""BLEU, chrF and TER of whole corpora by sacreBLEU (Post 2018), from 0 to 100.

sacreBLEU and sacremoses are imported where they are used: names of metrics are checked long before.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import gin

from trainers.errors import UserError
from trainers.text_metrics.lines import check_lines


class Scorer(NamedTuple):
    """A metric of sacreBLEU, and what is done to each text first."""

    metric: object
    prepare: object = str
    note: str = ""


class OverCorpus:
    """A metric of a corpus as a whole: {`name`: float}.

    Args:
      name: of the metric and its figure.
      make: function to a Scorer.
    """

    def __init__(self, name, make):
        self.name = name
        self.make = make

    def __call__(self, predictions, references):
        check_lines(predictions, references)
        scorer = self.make()
        most = max(map(len, references))
        prepared = [list(map(scorer.prepare, texts)) for texts in references]
        streams = [  # None where an example has fewer references than others
            [texts[i] if i < len(texts) else None for texts in prepared] for i in range(most)
        ]
        predictions = list(map(scorer.prepare, predictions))
        return {self.name: scorer.metric.corpus_score(predictions, streams).score}

    def signature(self, references):
        """How the figure is computed, as sacreBLEU writes it and papers should."""
        scorer = self.make()
        counts = {len(texts) for texts in references}
        scorer.metric.num_refs = counts.pop() if len(counts) == 1 else -1  # as scoring notes it
        return scorer.metric.get_signature().format() + scorer.note


@gin.configurable("bleu")
def plain_bleu(language: str | Sequence[str] | None = None):
    """sacreBLEU's defaults, on plain text: case is kept, tokens are those of mteval-v13a.

    Args:
      language: of the answers, or the languages from and to; "zh", "ja" and "ko" have no spaces that
        13a could divide them at, and get the tokens that sacreBLEU has for them. A task of a mixture
        may have its own, in its scope.

    Raises:
      UserError: a package for the language's tokens is not installed.
    """
    from sacrebleu.metrics import BLEU

    language = target(language) or ""
    # No warnings about texts that look tokenised already: those of some data sets are.
    try:
        return Scorer(BLEU(force=True, trg_lang=language))
    except RuntimeError:
        raise UserError(
            f"bleu.language = {language!r}: sacreBLEU needs more packages for it: "
            f"pip install 'sacrebleu[{language}]'"
        ) from None


@gin.configurable("tokenised_bleu")
def moses_bleu(language: str | Sequence[str] = "en", lowercase: bool = False):
    """BLEU between Moses' tokens and without smoothing, as of multi-bleu.perl.

    That is what papers on Multi30k (in lower case) and those that use fairseq (with case kept)
    report, whose data Moses' scripts had tokenised. It compares only with figures of the same
    tokenizer and case; `bleu` compares with any other sacreBLEU figure.

    Args:
      language: of the answers, or the languages from and to; for abbreviations whose full stop is
        no end of a sentence.
      lowercase: compare in lower case.
    """
    from sacrebleu.metrics import BLEU

    language = target(language)
    metric = BLEU(tokenize="none", smooth_method="none", lowercase=lowercase, force=True)
    return Scorer(metric, moses(language), f"|moses:{language}")


def target(language):
    """The language that is translated to."""
    return language if isinstance(language, str | None) else language[-1]


def chrf2():
    """chrF2 (Popović 2015): 6-grams of characters, and no words."""
    from sacrebleu.metrics import CHRF

    return Scorer(CHRF())


def tercom():
    """Edits, shifts among them, a hundred words of reference; less is better (Snover et al. 2006)."""
    from sacrebleu.metrics import TER

    return Scorer(TER())


@functools.cache
def moses(language):
    """Function of a text to Moses' tokens, with spaces between."""
    from sacremoses import MosesTokenizer

    tokenizer = MosesTokenizer(lang=language)
    return functools.partial(tokenizer.tokenize, return_str=True, escape=False)


bleu = OverCorpus("bleu", plain_bleu)
tokenised_bleu = OverCorpus("tokenised_bleu", moses_bleu)
chrf = OverCorpus("chrf", chrf2)
ter = OverCorpus("ter", tercom)
