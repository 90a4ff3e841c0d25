"""Small tokenizers of every kind of rules, with markup of every kind and a chat template."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MARKUP = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|file_sep|>"]  # three are not special
WORDS = ["<table>", "  "]  # added tokens that are ordinary vocabulary
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)
KINDS = ["bpe", "unigram", "wordlevel", "wordpiece"]
SPECIAL = ["<unk>", *MARKUP[:4]]


def _rules(kind):
    if kind == "bpe":
        rules = Tokenizer(models.BPE())
        rules.pre_tokenizer, rules.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        return rules, trainers.BpeTrainer(
            vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    if kind == "unigram":
        rules = Tokenizer(models.Unigram())
        rules.pre_tokenizer, rules.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        alphabet = list("<>|/_abcdefghijklmnopqrstuvwxyz")
        return rules, trainers.UnigramTrainer(
            vocab_size=90, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
        )
    rules = Tokenizer((models.WordLevel if kind == "wordlevel" else models.WordPiece)(unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer if kind == "wordlevel" else trainers.WordPieceTrainer
    return rules, trainer(special_tokens=SPECIAL, show_progress=False)


def chat_tokenizer(kind, folder):
    """Save a tokenizer whose documents have been trained on plain words, and return it."""
    rules, trainer = _rules(kind)
    rules.train_from_iterator(["the end of a plain text, and hello world"] * 8, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rules, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=CHAT
    )
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in [*MARKUP[4:], *WORDS]])
    tokenizer.save_pretrained(folder)
    return tokenizer
