"""The perplexity protocols at tiny sizes, and documents for them."""

import pytest
from support.losses_by_hand import Letters
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.perplexity.by_position import ByPosition
from lcx_lightning.evaluation.perplexity.documents import Documents
from lcx_lightning.evaluation.perplexity.joined_stream import JoinedStream
from lcx_lightning.evaluation.perplexity.sliding import Sliding
from lcx_lightning.evaluation.perplexity.streaming import Streaming

L = 32  # tokens, pretraining length
METHODS = ["pretrained", "lm_infinite", "dynamic_ntk"]
COMMON = {"split": "test", "seed": 0}


def source(*sizes, validation=()):
    """Documents of so many letters, of the test split and of the validation split."""
    return LongContextData(Books(test=_texts(sizes), validation=_texts(validation)), Letters(), CORPUS_ONLY)


def _texts(sizes):
    return ["".join(chr(65 + (i * i + 7 * i * d + d) % 58) for i in range(n)) for d, n in enumerate(sizes)]


def sliding(**changes):
    settings = {"multiples": [1, 1.5, 3], "stride": 7 / 32, "text": 3, "texts": 3, "batch_tokens": 150}
    return Sliding(**COMMON | settings | changes)


def documents(**changes):
    settings = {"multiples": [1, 2, 3], "chunk": 0.75, "texts": 3, "batch_tokens": 150}
    return Documents(**COMMON | settings | changes)


def positions(**changes):
    settings = {"multiples": [1, 2, 3], "bucket": 0.4, "texts": 3, "batch_tokens": 200}
    return ByPosition(**COMMON | settings | changes)


def streaming(**changes):
    return Streaming(**COMMON | {"multiples": [1, 2, 3], "windows": 3, "chunk": 13} | changes)


def joined(**changes):
    return JoinedStream(**COMMON | {"multiples": [1, 2, 10], "chunk": 13} | changes)


PROTOCOLS = [sliding, documents, positions, streaming, joined]
protocols = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.__name__)
