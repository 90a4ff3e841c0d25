"""`dry_run=data`: how many documents and tokens remain of the data, and how many reach each evaluated length."""

from typing import TYPE_CHECKING, Any

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.models.sources import check_tokens
from lcx_lightning.results.report.screen import say
from lcx_lightning.runner.built_arm import BuiltArm

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

READ = ("documents", "without_text", "short", "few_tokens")  # numbers that sum to that of documents read


def show_data(arms: list[BuiltArm], console: "Console") -> None:
    """Print a block for each different data of the arms; lengths that they cannot serve are shown, and not refused."""
    datas: dict[int, LongContextData] = {}
    lengths: dict[int, set[int]] = {}
    for built in arms:
        check_tokens(built.data.tokens, built.model.config)
        datas[id(built.data)] = built.data
        wanted = lengths.setdefault(id(built.data), set())
        wanted.update(built.evaluation.lengths(built.arm.pretrain_length))
        if built.arm.train_length is not None:
            wanted.add(built.arm.train_length)
    for name, data in datas.items():
        console.rule(f"{data.corpus.name}   identity {data.corpus.identity()}", align="left", style="bold")
        found = data.report(sorted(lengths[name]))
        console.print(report_table(found, sorted(lengths[name])))
        longest = [f"{split} {one['longest_name']}" for split, one in found.items() if one["longest_name"]]
        say(console, f"The longest documents: {', '.join(longest) or 'none'}.")
        console.print(
            f"Left out: rows without text (null), those below minimum_characters={data.corpus.minimum_characters}, "
            f"and those of the others below minimum_tokens={data.minimum_tokens}. Tokens are those of a vocabulary of "
            f"{data.tokens.vocab_size:,}, BOS not counted; a document reaches a context if it fills it behind BOS.",
            highlight=False,
            soft_wrap=True,
        )


def report_table(found: dict[str, dict[str, Any]], lengths: list[int]) -> "Table":
    """A column per split: what there was, what was left out, what remains, and how many documents reach each length.

    Args:
        found: What `LongContextData.report` returned for the lengths.
        lengths: Lengths in tokens.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for split in found:
        table.add_column(split, justify="right", no_wrap=True)
    counts = {
        "documents read": [sum(one[kind] for kind in READ) for one in found.values()],
        "- without a text": [one["without_text"] for one in found.values()],
        "- of too few characters": [one["short"] for one in found.values()],
        "- of too few tokens": [one["few_tokens"] for one in found.values()],
        "documents": [one["documents"] for one in found.values()],
        "tokens": [one["tokens"] for one in found.values()],
        "tokens of the median document": [one["median"] for one in found.values()],
        "tokens of the longest": [one["longest"] for one in found.values()],
    }
    for length in lengths:
        counts[f"documents that reach {length:,}"] = [one["reach"][length] for one in found.values()]
    for name, numbers in counts.items():
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table
