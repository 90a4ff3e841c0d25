"""Pages that are made when the site is built: mkdocs-gen-files runs this file."""

import sys
from collections.abc import Sequence
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # `mkdocs build` looks in neither

from generators.drawings import frequencies_svg, mask_svg  # noqa: E402
from generators.excerpt import rope_excerpt  # noqa: E402
from generators.method_pages import method_page  # noqa: E402
from generators.reference import PACKAGES, reference_page  # noqa: E402
from generators.tables import (  # noqa: E402
    benchmarks_table,
    choices_table,
    data_table,
    evaluations_table,
    methods_table,
)
from generators.verdicts import FIGURE, PAGE  # noqa: E402

from lcx_lightning.methods.library import methods  # noqa: E402

PARTS = {  # where a page says <!-- {{ name }} -->
    "methods": methods_table,
    "evaluations": evaluations_table,
    "data": data_table,
    "benchmarks": benchmarks_table,
    "training": lambda: choices_table("training"),
    "exp": lambda: choices_table("exp"),
    "rope": rope_excerpt,
    "claims": PAGE.read_text,
}


def write(path: str, text: str) -> None:
    """Add a file to the site."""
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


def navigation(first: str, names: Sequence[str]) -> str:
    """Return the list of the pages of a folder, its index under the name `first`."""
    return "".join(f"* [{name}]({file}.md)\n" for name, file in [(first, "index"), *zip(names, names, strict=True)])


# 1. the pages that are written by hand, with their tables
for page in [path for path in (ROOT / "docs").rglob("*.md") if "{{ " in path.read_text()]:
    text = page.read_text()
    for name, part in PARTS.items():
        if (mark := f"<!-- {{{{ {name} }}}} -->") in text:
            text = text.replace(mark, part())
    write(str(page.relative_to(ROOT / "docs")), text)

write(f"results/{FIGURE.name}", FIGURE.read_text())

# 2. a page and two drawings for each method
for method in methods():
    write(f"methods/{method}.md", method_page(method))
    write(f"methods/{method}_frequencies.svg", frequencies_svg(method))
    write(f"methods/{method}_mask.svg", mask_svg(method))
write("methods/SUMMARY.md", navigation("Overview", methods()))

# 3. the reference of the public names
for package in PACKAGES:
    write(f"reference/{package}.md", reference_page(package))
write("reference/SUMMARY.md", navigation("lcx_lightning", PACKAGES))
