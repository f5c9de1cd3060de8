"""A zoo of language models in Keras: every model here keeps the contract of zoo/model.py."""

from zoo.decoder_lm import DecoderLM
from zoo.encoder_decoder import EncoderDecoder
from zoo.lstm_lm import LSTMLM
from zoo.model import LanguageModel
from zoo.pretrained_lm import PretrainedLM

__all__ = ["LSTMLM", "DecoderLM", "EncoderDecoder", "LanguageModel", "PretrainedLM"]
