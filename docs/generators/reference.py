"""The reference: a page for each package with public names, from the stubs that list these."""

import importlib

from generators.tables import defined_at

PACKAGES = ("scaling", "positions", "temperature", "patterns", "methods", "models")
PACKAGES += ("data", "training", "evaluation", "results")
OPTIONS = """    options:
      heading_level: 2
      show_root_heading: true
      heading: {name}
      toc_label: {name}
"""


def reference_page(package: str) -> str:
    """Return the page of a package: every public name, in order, with its docstring."""
    module = importlib.import_module(f"lcx_lightning.{package}")
    names = [name for name in dir(module) if not name.startswith("_")]
    head = f"# lcx_lightning.{package}\n\n```python\nfrom lcx_lightning.{package} import {names[0]}\n```\n"
    entries = [f"::: {defined_at(f'lcx_lightning.{package}.{name}')}\n{OPTIONS.format(name=name)}" for name in names]
    return "\n".join([head, *entries])
