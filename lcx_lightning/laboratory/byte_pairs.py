"""The tokenizer of the laboratory: byte pairs made on the training split of its corpus (arXiv:1508.07909)."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from lcx_lightning.data.corpora.base import Corpus

BOS = "<s>"


def save_byte_pairs(corpus: Corpus, size: int, folder: Path) -> None:
    """Write a tokenizer of `size` tokens, BOS among them, in the format of the Hugging Face hub.

    Every digit is a token of its own, so that numbers of equal length have equally many tokens.

    Args:
        corpus: Corpus whose training split it is made on.
        size: Number of tokens: BOS, 256 bytes, and pairs.
        folder: Folder that is written.
    """
    from transformers import PreTrainedTokenizerFast

    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    pairs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False)
    pairs.train_from_iterator([document.text for document in corpus.documents("train")], trainer)
    pairs.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, pairs.token_to_id(BOS))]
    )
    PreTrainedTokenizerFast(tokenizer_object=pairs, bos_token=BOS).save_pretrained(folder)
