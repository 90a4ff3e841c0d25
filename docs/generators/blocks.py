"""Parts of committed documents between marks: `<!-- name -->` and `<!-- /name -->`."""

import re

OMITTED_ARMS = {"clex\\_blocks"}  # of the quickstart, in the README's table
OMITTED_COLUMNS = {"train", "eval", "hash"}


def replace_block(text: str, name: str, block: str) -> str:
    """Return `text` with the part between the marks of a name replaced.

    Raises:
        ValueError: If the marks are missing.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"The text needs the marks <!-- {name} --> and <!-- /{name} -->: write them where it belongs.")
    return pattern.sub(lambda marks: f"{marks[1]}{block.strip()}\n{marks[2]}", text)


def block_of(text: str, name: str) -> str:
    """Return the part of a document between the marks of a name."""
    return text.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0].strip()


def short_table(table: str) -> str:
    """Return the README's rows and columns of the quickstart's table, without notes."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    columns = [i for i, name in enumerate(lines[0]) if name not in OMITTED_COLUMNS]
    rows = [[line[i] for i in columns] for line in lines if line[0] not in OMITTED_ARMS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
