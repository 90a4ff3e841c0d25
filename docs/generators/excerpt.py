"""The heart of `Method.rope` as a few lines, cut out of its source: what it returns and how."""

import inspect
import textwrap

from lcx_lightning.methods.method import Method


def rope_excerpt() -> str:
    """Return, as a block of Markdown, the end of `Method.rope` from the choice of positions on, without `if` blocks."""
    source = textwrap.dedent(inspect.getsource(Method.rope)).splitlines()
    start = next(i for i, line in enumerate(source) if "factor, positions =" in line)
    kept, inside = [], False
    for line in source[start:]:
        deeper = line.startswith(" " * 8)
        inside = line.startswith("    if ") or (inside and deeper)
        if not inside:
            kept.append(line[4:])
    return "\n".join(["```python", *kept, "```"])
