"""One page for each method: what it is, equation, parts and file, drawings, and what it does at a length."""

import json

from omegaconf import OmegaConf

from generators.drawings import FACTOR, LLAMA2, MULTIPLES, method_for
from generators.tables import DOCS, bases_of, class_link, linked, papers_of, title_of, training_note
from lcx_lightning.methods.fingerprint import PassSummary, summarize_passes
from lcx_lightning.methods.library import METHODS, PARTS, read_method
from lcx_lightning.methods.overrides import open_values

FRAGMENTS = DOCS / "methods"  # NAME.md: equation and departures of a method, by hand


def method_page(name: str) -> str:
    """Return the page of a method in Markdown."""
    papers = ", ".join(linked(number) for number in papers_of(name))
    needs = training_note(name)
    training = f"Needs training: {needs}" if needs else "Needs no training."
    sections = [
        f"# {name}",
        f"{title_of(name)}.{f' Paper: {papers}.' if papers else ''}",
        training,
        written(name),
        f"## Parts\n\n{parts_table(name)}",
        f"`{name}.yaml`, with `factor`, `train_factor` and `pretrain_length` from the command line and the model:",
        f"```yaml\n{(METHODS / f'{name}.yaml').read_text()}```",
        f"## Frequencies\n\n![Frequencies of {name}]({name}_frequencies.svg)",
        "Frequency of every rotary pair over that of pretraining, for the rotary embedding of Llama-2 (128 features, "
        f"base 10,000, L = 4,096) at factor {FACTOR}, before any training.",
        f"## Mask\n\n![Mask of {name}]({name}_mask.svg)",
        "Which keys (to the right) each query (downwards) sees, and the distance in positions at which the pair is "
        "rotated, before the scaling slows it down; drawn at L = 24, with three sink tokens where the method has any.",
        f"## What a pass does\n\n{passes_table(name)}",
        f"At factor {FACTOR} and L = 4,096, as `dry_run=fingerprint` prints it.",
        generation(name),
        f"## Use\n\n{use(name)}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def written(name: str) -> str:
    """Return equation and departures, as they were written by hand for a method or for those that it stands on."""
    path = FRAGMENTS / f"{name}.md"
    bases = [f"[{base}]({base}.md)" for base in bases_of(name)]
    start = f"It is {bases[0]} with the changes that its file makes." if len(bases) == 1 else ""
    if len(bases) > 1:
        start = f"It composes {' and '.join(bases)}: their equations and departures hold here."
    return "\n\n".join(text for text in (start, path.read_text().strip() if path.exists() else "") if text)


def parts_table(name: str) -> str:
    """Return the four parts of a method with their classes and values."""
    method, pretrained = read_method(name), read_method("pretrained")
    rows = ["| part | class | values |", "|---|---|---|"]
    for part in PARTS:
        values = OmegaConf.to_container(method[part])
        assert isinstance(values, dict)
        target = values.pop("_target_")
        shown = "as pretrained" if method[part] == pretrained[part] else _values(values) or "none"
        rows.append(f"| {part} | {class_link(target)} | {shown} |")
    return "\n".join(rows)


def passes_table(name: str) -> str:
    """Return what a method does to texts of several lengths, of those that it reaches."""
    method = method_for(name, LLAMA2)
    reach = method.max_context(LLAMA2.pretrain_length)
    lengths = [n for m in MULTIPLES if (n := m * LLAMA2.pretrain_length) <= (reach or n)]
    rows = [
        "| tokens | factor | features x | logits x | the last query sees, by distance |",
        "|---:|---:|---:|---:|---|",
    ]
    for length, found in zip(lengths, summarize_passes(method, lengths, None), strict=True):
        features = f"{found.feature_scale:.4g}"
        rows.append(f"| {length:,} | {found.factor:g} | {features} | {_logits(found)} | {found.distances} |")
    return "\n".join(rows)


def generation(name: str) -> str:
    """Return what decides the factor of a generation, if it depends on the length; else nothing."""
    if not method_for(name, LLAMA2).positions.length_dependent:
        return ""
    return (
        "## Generation\n\nThe factor depends on the length. A generation holds that of its planned length from the "
        "first token on, so that the answer to a prompt **depends on `max_new_tokens`**. `grow=true` on the command "
        "line, or `lcx.attach(..., grow=True)`, takes the factor of the current length in every pass instead; cached "
        "keys of deeper layers then keep the factor of their time. That of a released CLEX checkpoint grows, as in its "
        "authors' code, unless `grow=false` is given."
    )


def use(name: str) -> str:
    """Return the command line and the lines of Python that use a method."""
    method, needed = method_for(name, LLAMA2), sorted(open_values(read_method(name)))
    values = {key: {"factor": FACTOR, "train_factor": 1}[key] for key in needed}
    words = [f"method={name}", *([f"factor={FACTOR}"] if "factor" in needed else [])]
    words += ["train_factor=1"] if method.positions.samples else []  # on rows shorter than what it is to reach
    words += ["training=finetune"] if training_note(name) else []
    arguments = "".join(f", {key}={value}" for key, value in values.items())
    return f'```bash\nlcx run {" ".join(words)}\n```\n\n```python\nlcx.attach(model, "{name}"{arguments})\n```'


def _values(values: dict) -> str:
    return ", ".join(f"`{key}: {_plain(value)}`" for key, value in values.items())


def _plain(value: object) -> str:
    """Return a value as a file would have it, on one line."""
    if isinstance(value, dict):
        target = str(value.get("_target_", "")).rsplit(".", 1)[-1]
        return f"{target}({', '.join(f'{k}={_plain(v)}' for k, v in value.items() if k != '_target_')})"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _logits(found: PassSummary) -> str:
    if found.logit_scale is None:
        return "1"
    first, last = found.logit_scale
    return f"{first:.4g}" if first == last else f"{first:.4g} to {last:.4g}"
