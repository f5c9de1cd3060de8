"""Metrics that are means over answers, from 0 to 1: matches, words in common, ROUGE."""

import functools
import re
import string
from collections import Counter

import gin

from trainers.text_metrics.lines import MeanOverAnswers, best

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text):
    """As SQuAD's evaluation compares: in lower case, no ASCII punctuation, no English articles,
    single spaces (Rajpurkar et al. 2016)."""
    text = text.lower().translate(PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", text).split())


def exact_match_of(prediction, references):
    """Whether an answer is one of the references, SQuAD's normalisation applied."""
    return {"exact_match": float(normalised(prediction) in map(normalised, references))}


def f1_of(prediction, references):
    """F1 of words in common with the best reference, SQuAD's normalisation applied."""
    return {"f1": best(overlap, prediction, references)}


def overlap(prediction, reference):
    found, right = normalised(prediction).split(), normalised(reference).split()
    if not found or not right:
        return float(found == right)  # as SQuAD 2.0
    common = sum((Counter(found) & Counter(right)).values())
    return 2 * common / (len(found) + len(right))


def accuracy_of(prediction, references):
    """Whether an answer is one of the references, to the letter.

    The figure is "answer_accuracy": "accuracy" is that of tokens, which evaluation always has.
    """
    return {"answer_accuracy": float(prediction in references)}


def label_accuracy_of(prediction, references):
    """Whether the likeliest label is one of the references."""
    return {"label_accuracy": float(prediction in references)}


@gin.configurable("rouge", denylist=["prediction", "references"])
def rouge_of(prediction, references, use_stemmer: bool = False):
    """F-measures of ROUGE-1, -2 and -L by rouge-score, each of the best reference (Lin 2004).

    Its words are runs of a to z and digits, so texts of other scripts have none.

    Args:
      prediction, references: see the package.
      use_stemmer: compare English stems, as Porter's stemmer finds them.
    """
    scores = rouge_scorer(use_stemmer).score_multi(references, prediction)
    return {name: score.fmeasure for name, score in scores.items()}


@functools.cache
def rouge_scorer(use_stemmer):
    from rouge_score.rouge_scorer import RougeScorer  # imports NLTK

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer)


exact_match = MeanOverAnswers(exact_match_of)
f1 = MeanOverAnswers(f1_of)
accuracy = MeanOverAnswers(accuracy_of)
label_accuracy = MeanOverAnswers(label_accuracy_of)
rouge = MeanOverAnswers(rouge_of)
