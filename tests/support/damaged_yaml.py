"""Method files that are damaged, or that no one should write: mistakes of YAML, aliases that explode, wrong parts."""

import yaml
from support.damages import LEVELS, WILD, drawn

LAUGHS = "".join(
    f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10 if i else ['lol'] * 10)}]\n" for i in range(9)
)  # 10^9 items
TEXTS = {
    "explodes": LAUGHS + "scaling: *x8\n",
    "explodes as a mapping": "".join(
        f"x{i}: &x{i} {{{', '.join(f'k{j}: *x{i - 1}' if i else f'k{j}: 1' for j in range(10))}}}\n" for i in range(9)
    )
    + "scaling: *x8\n",
    "holds itself": "scaling: &a\n  _target_: lcx_lightning.scaling.YaRN\n  fast: *a\n",
    "a list that holds itself": "scaling: &a [*a]\n",
    "merges itself": "scaling: &a\n  <<: *a\n  _target_: lcx_lightning.scaling.YaRN\n",
    "an alias of nothing": "scaling: *nothing\n",
    "tabs": "scaling:\n\t_target_: lcx_lightning.scaling.YaRN\n",
    "a doubled key": "scaling: {_target_: lcx_lightning.scaling.Unscaled}\n" * 2,
    "an object of Python": "scaling: !!python/object/apply:os.mkdir [made]\n",
    "a name of Python": "scaling: !!python/name:os.system\n",
    "a tag of its own": "scaling: !own {_target_: lcx_lightning.scaling.Unscaled}\n",
    "binary": "scaling: !!binary aGVsbG8=\n",
    "a set": "scaling: !!set {a, b}\n",
    "a date": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: 2020-01-01, slow: 1}\n",
    "a huge number": f"scaling: {{_target_: lcx_lightning.scaling.YaRN, fast: {'9' * 5000}, slow: 1}}\n",
    "an infinite number": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: .inf, slow: 1}\n",
    "no number": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: .nan, slow: 1}\n",
    "a loop": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: '${method.scaling.slow}', slow: '${..fast}'}\n",
    "a loop of one": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: '${.fast}', slow: 1}\n",
    "names nothing": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: '${no.such.value}', slow: 1}\n",
    "names no resolver": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: '${no_such:1}', slow: 1}\n",
    "half an interpolation": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: '${factor', slow: 1}\n",
    "a whole part that names nothing": "scaling: ${nothing}\n",
    "a missing value": "scaling: ???\n",
    "a missing setting": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: ???, slow: 1}\n",
    "two documents": "scaling: {_target_: lcx_lightning.scaling.Unscaled}\n---\npattern: {}\n",
    "an open quote": "scaling: {_target_: 'lcx_lightning.scaling.Unscaled}\n",
    "an open bracket": "scaling: {_target_: lcx_lightning.scaling.Unscaled\n",
    "a list": "- scaling\n",
    "a text": "scaling\n",
    "a number": "5\n",
    "null": "null\n",
    "a part that is a text": "scaling: YaRN\n",
    "a part that is null": "scaling: null\n",
    "a part without a class": "scaling: {fast: 32}\n",
    "a class that is none": "scaling: {_target_: 5}\n",
    "a class that is a list": "scaling: {_target_: [lcx_lightning.scaling.YaRN]}\n",
    "a class of another kind": "scaling: {_target_: lcx_lightning.patterns.Causal}\n",
    "a class that is not there": "scaling: {_target_: lcx_lightning.scaling.YaRNN}\n",
    "a key that is a number": "5: {_target_: lcx_lightning.scaling.Unscaled}\n",
    "a key that is a list": "? [a, b]\n: 1\n",
    "a key that is null": "null: 1\n",
    "a null inside": "scaling: {_target_: lcx_lightning.scaling.Unscaled, null: 1}\n",
    "defaults that lead back": "defaults: [own]\n",
    "defaults that are a mapping": "defaults: {own: 1}\n",
    "defaults that are nowhere": "defaults: [nowhere]\n",
    "deep": "scaling: " + "[" * LEVELS + "]" * LEVELS + "\n",
    "deep mappings": "scaling: " + "{a: " * LEVELS + "1" + "}" * LEVELS + "\n",
    "deep blocks": "".join("  " * level + "a:\n" for level in range(600)) + "  " * 600 + "b: 1\n",
    "an argument that is a class": "scaling: {_target_: lcx_lightning.scaling.YaRN, fast: {_target_: os.mkdir}}\n",
}


def text_of(name):
    """Return the damage that writes one of TEXTS."""

    def written(path, rng):
        path.write_text(TEXTS[name])

    written.__name__ = name
    return written


def yaml_replaced(path, rng):
    tree = yaml.safe_load(path.read_text())
    node, key, words = drawn(tree, rng)
    node[key] = rng.choice([value for value in WILD if value != "\ud800"])
    path.write_text(yaml.safe_dump(tree))
    return words


def yaml_removed(path, rng):
    tree = yaml.safe_load(path.read_text())
    node, key, words = drawn(tree, rng)
    del node[key]
    path.write_text(yaml.safe_dump(tree))
    return words


YAML = [*map(text_of, TEXTS), yaml_replaced, yaml_removed]
