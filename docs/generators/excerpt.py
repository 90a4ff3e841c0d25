"""The heart of `Method.rope` as a few lines, cut out of the source: what it returns and how, without its special cases."""

import inspect
import textwrap

from lcx_lightning.methods.method import Method


def rope_excerpt() -> str:
    """Return, as a block of Markdown, the lines of `Method.rope` from the choice of factor and positions to its end, `if` blocks left out."""
    source = textwrap.dedent(inspect.getsource(Method.rope)).splitlines()
    start = next(i for i, line in enumerate(source) if "factor, positions =" in line)
    kept, inside = [], False
    for line in source[start:]:
        deeper = line.startswith(" " * 8)
        inside = line.startswith("    if ") or (inside and deeper)
        if not inside:
            kept.append(line[4:])
    return "\n".join(["```python", *_joined(kept), "```"])


def _joined(lines: list[str]) -> list[str]:
    """Return the lines with arguments that keep their name, x=x, side by side."""
    out: list[str] = []
    for line in lines:
        name, _, value = line.strip().rstrip(",").partition("=")
        plain = name == value and line.startswith(" ")
        if plain and out and out[-1].endswith(", "):
            out[-1] += f"{line.strip()} "
        else:
            out.append(f"{line} " if plain else line)
    return [line.rstrip() for line in out]
