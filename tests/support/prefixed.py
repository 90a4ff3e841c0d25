"""A tokenizer of bytes with a prefix of several tokens."""

from lcx_lightning.data.tokenizers import ByteTokens

PREFIX = (256, 258, 257)


class Prefixed(ByteTokens):
    """Bytes behind three tokens."""

    def __init__(self):
        super().__init__()
        self.vocab_size, self.prefix, self.special = 259, PREFIX, frozenset(PREFIX)
