"""Figures of the predictions alone: how varied they are, how they repeat themselves, how long.

Words are what stands between white space.
"""

import statistics

from trainers.text_metrics.lines import check_lines

REPEATED = 4  # words of which repetition is measured


def distinct(predictions, references=None):
    """{"distinct1", "distinct2"}: different words, and pairs of them, of all predictions together,
    divided by the number of words (Li et al. 2016); 0 where there are none."""
    check_lines(predictions)
    texts = [text.split() for text in predictions]
    words = max(sum(map(len, texts)), 1)
    return {
        f"distinct{size}": len({gram for text in texts for gram in ngrams(text, size)}) / words
        for size in (1, 2)
    }


def repetition(predictions, references=None):
    """{"repetition"}: the share of a text's 4-grams that it had before, the mean over texts.

    That is seq-rep-4 (Welleck et al. 2020), in words. A text of fewer than four has none.
    """
    check_lines(predictions)

    def repeated(text):
        grams = ngrams(text.split(), REPEATED)
        return 1 - len(set(grams)) / len(grams) if grams else 0.0

    return {"repetition": statistics.fmean(map(repeated, predictions))}


def lengths(predictions, references=None):
    """{"mean_words", "empty_answers"}: words of a prediction, and how many have none."""
    check_lines(predictions)
    counts = [len(text.split()) for text in predictions]
    return {"mean_words": statistics.fmean(counts), "empty_answers": float(counts.count(0))}


def ngrams(words, size):
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
