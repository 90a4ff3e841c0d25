"""Command lines as people mistype them: valid ones with a few words changed, drawn from a seed."""

import random
import re

LINES = [  # each takes well under a second
    "method=lm_infinite",
    "method=yarn factor=4",
    "method=pi training=finetune",
    "method=clex training=finetune evaluation.growing_context.multiples=[1,2]",
    "method=[clex,lm_infinite] evaluation.growing_context.multiples=[1,2]",
    "method=self_extend evaluation=[growing_context,passkey]",
    "method=dynamic_ntk evaluation=sliding",
    "method=longrope training=papers",
    "method=pose factor=4 train_factor=1 training=finetune training/lora=longlora",
    "method=ntk trainer=fsdp trainer.devices=1 trainer.accelerator=cpu",
    "method=streaming_llm evaluation=[needle,ruler,key_value]",
    "method=window_only evaluation=[attention,hidden_states,frequencies,score_bounds,cost]",
    "method=rerope evaluation=[documents,positions,streaming,short_context] seeds=2",
    "method=log_n data=hub data.corpus.load.path=books.jsonl",
    "arms=['method=yarn factor=2,4','method=lm_infinite','method=pretrained']",
    "arms=['method=yarn factor=2,4','method=lm_infinite method.pattern.window=16,32']",
    "arms=['method=pi training=finetune training.steps=20,40','method=pretrained'] jobs=1",
    "+exp=ablate_lambda",
    "method=abf launch=slurm launch.cluster=local",
    "method=llama3 logger=wandb logger.mode=offline",
    "method=pi training=finetune hardware=h100 dry_run=forecast",
]
VALUES = [
    *("0", "1", "2", "-1", "3.5", "-0.5", "1e400", "nan", "inf", "-inf", "1e-9", "100000000000000000000000", "007"),
    *("true", "false", "null", "maybe", "two", "''", '""', "' '", "4k", "1,2", "a,b", "1,a,null"),
    *("[]", "[1]", "[0]", "[-1,2]", "[null]", "[a,b]", "[[1,2],[3]]", "{}", "{a: 1}", "{_target_: os.system}", "[{}]"),
    *("${factor}", "${nothing}", "${oc.env:NOTHING}", "${oc.env:HOME}", "${", "$", "???", "\N{SNOWMAN}", "x" * 3000),
    *(
        "'it\\'s'",
        '"a b"',
        "'a=b'",
        "a=b",
        "~",
        "~/x",
        "/nowhere/at all",
        "[1",
        "1]",
        "{a:",
        "\\",
        "%",
        "#",
        "a:b",
        "-",
    ),
    *("{_target_: lcx_lightning.scaling.YaRN}", "{_target_: lcx_lightning.scaling.Yarn}", "{_target_: 5}", "1\n2"),
    *("--", "a:b", "\t", "range(3)", "choice(1,2)"),
]
KEYS = re.compile(r"[+~]*([\w./@-]+)")


def typo(word, rng):
    """Return a word with one letter left out, doubled, swapped or changed."""
    if len(word) < 2:
        return word + rng.choice("xyz")
    at = rng.randrange(len(word) - 1)
    before, here, there, after = word[:at], word[at], word[at + 1], word[at + 2 :]
    return rng.choice(
        [before + there + after, before + here + here + there + after, before + there + here + after,
         before + rng.choice("abcxyz_.") + there + after]
    )  # fmt: skip


def words_of(line):
    """Return the words of one of LINES, quotes and all."""
    return [word for word in re.split(r" (?=[\w+/.]+=)(?![^']*'[,\]])", line) if word]


class Typist:
    """Change command lines.

    Args:
        keys: Names of all values, by command line.
        choices: Choices of the groups, by group.
        seed: Seed for all that is drawn.
    """

    def __init__(self, keys, choices, seed):
        self._keys, self._choices, self._rng = keys, choices, random.Random(seed)

    def line(self):
        """Return a command line, and the words that were put into it or taken out of it."""
        rng = self._rng
        start = rng.choice(LINES)
        words = words_of(start)
        changed = [word for _ in range(rng.choice([1, 1, 1, 2, 3])) for word in self._change(words, start)]
        return words, changed

    def _change(self, words, start):
        """Change a list of words in place, and return the word that is new, and the one whose place it takes."""
        rng = self._rng
        key, value = rng.choice(self._keys[start]), rng.choice(VALUES)
        group = rng.choice(sorted(self._choices))
        new = rng.choice(
            [
                *[f"{key}={value}"] * 8,
                *[f"{typo(key, rng)}={value}"] * 2,
                f"+{key}={value}",
                f"++{key}={value}",
                f"+{typo(key, rng)}={value}",
                f"~{key}",
                f"{key.rpartition('.')[2]}={value}",
                f"{group}={rng.choice(self._choices[group])}",
                f"{group}={typo(rng.choice(self._choices[group]), rng)}",
                f"{typo(group, rng)}={rng.choice(self._choices[group])}",
                f"arms=[{key}={value}]",
                f"arms=['{key}={value}','method=yarn,ntk']",
                f"arms={value}",
                *("-m", "--banana", "=", "=5", key, f"{key}=", f"{key}=={value}", "[", "method", "", " ", "factor = 4"),
            ]
        )
        if rng.random() < 0.2 and words:
            at = rng.randrange(len(words))
            old, words[at] = words[at], new
            return [new, old]
        words.insert(rng.randrange(len(words) + 1), new)
        return [new]


def names_in(word):
    """Return what a message about a word may call it: its whole key, a part of it, or the word itself."""
    found = KEYS.match(word)
    key = found[1] if found else word
    return {key, *re.findall(r"[\w/@-]{2,}", word), word.strip()} - {""}


def is_named(changed, said):
    """Return whether a message names one of the changed words."""
    return any(not word.strip() or any(name in said for name in names_in(word)) for word in changed)
