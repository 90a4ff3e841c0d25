"""`dry_run=fingerprint`: what every arm does to frequencies, factor, temperature and visible distances, as tables."""

import math
from typing import TYPE_CHECKING

from lcx_lightning.methods.fingerprint import PassSummary, summarize_passes
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.runner.built_arm import BuiltArm

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show_fingerprints(arms: list[BuiltArm], console: "Console") -> None:
    """Print a block per arm; seeds share it, because nothing is learned yet."""
    for built in [built for built in arms if built.arm.seed == arms[0].arm.seed]:
        arm, method = built.arm, built.seeded_method()
        found = summarize_passes(method, arm.lengths, arm.train_length)
        equal = ", equals pretrained" if arm.equals_pretrained else ""
        console.rule(f"{arm.name}   fingerprint {arm.fingerprint}{equal}", align="left", style="bold")
        console.print(passes_table(found))
        console.print(frequency_table(built.model.spec, found))
        for length, reason in arm.not_evaluated.items():
            console.print(f"Not evaluated at {length}: {reason}", highlight=False)
        if any(weight.requires_grad for weight in method.parameters()):
            console.print("The scaling learns: these are its frequencies before training.", highlight=False)


def passes_table(found: list[PassSummary]) -> "Table":
    """Factor, temperature, positions and visible distances, a row per evaluated length and training placement."""
    table = _table("pass (tokens)", "factor", "features", "logits", "positions", "distances that the last query sees")
    for one in found:
        first, last = one.logit_scale or (1.0, 1.0)
        logits = f"x {first:.4g}" if first == last else f"x {first:.4g} to {last:.4g}"
        positions = f"0 to {one.last_position:g}"
        table.add_row(one.name, f"{one.factor:.4g}", f"x {one.feature_scale:.4g}", logits, positions, one.distances)
    return table


def frequency_table(spec: RopeSpec, found: list[PassSummary]) -> "Table":
    """Pretrained frequency of each pair, and what it is multiplied by; passes that multiply alike share a column."""
    pretrained = spec.inv_freq().tolist()
    columns: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        ratios = tuple(f"x {new / old:.4g}" for new, old in zip(one.inv_freq, pretrained, strict=True))
        columns.setdefault(ratios, []).append(one.name)
    names = [name if len(columns) > 1 else "in every pass" for name in map(_joined, columns.values())]
    table = _table("pair", "radians per token", "turns in L", *names)
    for pair, frequency in enumerate(pretrained):
        turns = frequency * spec.pretrain_length / (2 * math.pi)
        table.add_row(str(pair), f"{frequency:.6g}", f"{turns:.4g}", *(ratios[pair] for ratios in columns))
    return table


def _joined(names: list[str]) -> str:
    """Return "evaluation 128, 256; training 512, draw 0" of the names of passes."""
    lengths = [name.removeprefix("evaluation ") for name in names if name.startswith("evaluation ")]
    evaluation = [f"evaluation {', '.join(lengths)}"] if lengths else []
    return "; ".join(evaluation + [name for name in names if not name.startswith("evaluation ")])


def _table(*header: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(header):
        table.add_column(
            name, justify="left" if "pass (" in name or "distances" in name else "right", no_wrap=not index
        )
    return table
