"""Blocks of a page of the documentation, each of a kind that can be tried: files, commands, answers, Python, trees."""

import re
import shlex
import textwrap
from typing import NamedTuple

from support.lab import EVALUATION, TINY, TRAINING

BLOCK = re.compile(r"^```(\w+)\n((?:.*\n)*?)```$|((?:^    .*\n(?:\n(?=    ))?)+)", re.MULTILINE)
FILE = re.compile(r"`(\S+/\S+\.(?:py|yaml))`:\s*$")
INLINE = re.compile(r"`(lcx [^`]+)`")
WORDS = ("lcx", "mkdir", "chgrp", "chmod", "umask")


class Block(NamedTuple):
    """One block: what it is, and for a file its name."""

    kind: str  # file, python, answers, commands or tree
    text: str
    name: str = ""


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a page in Markdown, and the commands in its sentences, in their order.

    Raises:
        ValueError: If a block is of no kind that is tried.
    """
    if text.count("\n```") != 2 * sum(bool(match[1]) for match in BLOCK.finditer(text)):
        raise ValueError("A fenced block that no test tries: it needs a language, and an end.")
    found: list[tuple[int, Block]] = [
        (match.start(), _block(match, text[: match.start()])) for match in BLOCK.finditer(text)
    ]
    spans = [match.span() for match in BLOCK.finditer(text)]
    for match in INLINE.finditer(text):
        complete = len(shlex.split(match[1])) > 2 and "..." not in match[1]
        if complete and not any(start <= match.start() < end for start, end in spans):
            found.append((match.start(), Block("commands", match[1])))
    return [block for _, block in sorted(found)]


def _block(match: re.Match[str], before: str) -> Block:
    language, fenced, indented = match.groups()
    body = textwrap.dedent(fenced or indented)
    if name := FILE.search(before):
        return Block("file", body, name[1])
    if language in ("python", "console"):
        return Block({"python": "python", "console": "answers"}[language], body)
    if not language and body.startswith("mine/\n"):
        return Block("tree", body)
    if not language and all(line.split()[0] in WORDS for line in body.splitlines() if line):
        return Block("commands", body)
    raise ValueError(f"A block that no test tries: {match[0]}")


def answers_of(block: Block) -> list[tuple[list[str], str]]:
    """Return the words of each `lcx run` in a block of answers, with what the program is to say, blanks apart."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]]
    return [(_words(command), " ".join(said.split())) for command, _, said in parts if block.kind == "answers"]


def runs_of(block: Block) -> list[list[str]]:
    """Return the words of every `lcx run` in a block but for those with an answer, without `lcx run`."""
    lines = block.text.splitlines() if block.kind in ("commands", "tree") else []
    return [_words(line) for line in lines if "lcx run " in line]


def _words(line: str) -> list[str]:
    return shlex.split(line[line.index("lcx run ") :], comments=True)[2:]


def at_tiny_sizes(words: list[str]) -> list[str]:
    """Return the words of `lcx run` at sizes at which it takes seconds."""
    line = " ".join(words)
    of_base = [word for word in TINY if word not in EVALUATION]
    model = [] if "model=" in line or "+exp=essays" in line else of_base
    evaluation = [] if "evaluation=next_token" in line or "+exp=essays" in line else EVALUATION
    if "evaluation=" in line:  # the page's own
        evaluation = [*evaluation, *(word.replace("growing_context", "next_token") for word in EVALUATION)]
    return [*words, *model, *evaluation, *(TRAINING if "training=" in line else [])]
