"""What the configurations of this program let runs record: names of methods, measures, and the lengths of each."""

from collections import defaultdict
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from lcx_lightning.methods.library import methods
from lcx_lightning.results.claims import Recorded
from lcx_lightning.schema.build import build

CONFIGS = files("experiments.configs")


def recorded() -> Recorded:
    """Return what claims may be about.

    Lengths of a measure are those of its evaluation, and those that an experiment of the package gives it. The files
    of experiments are read as they are: to compose them takes seconds, and an experiment that another builds on is
    one of them too.
    """
    with initialize_config_module("experiments.configs", version_base="1.3"):
        config = compose("run", [f"evaluation=[{','.join(_choices('evaluation'))}]"]).evaluation
    experiments = [_evaluations_given_by(CONFIGS / "exp" / f"{name}.yaml") for name in _choices("exp")]
    lengths: dict[str, set[float]] = defaultdict(set)
    perplexities = set()
    for name, node in config.items():
        if OmegaConf.missing_keys(node):
            continue  # a task that is chosen on the command line, such as one of the harness
        for measure, metric in build(node, f"evaluation.{name}").metrics().items():
            perplexities |= {measure} if metric.display == "perplexity" else set()
            every = [node, *(chosen[name] for chosen in experiments if name in chosen)]
            lengths[measure].update(float(at) for one in every for at in _multiples(one))
    return Recorded(methods(), lengths, perplexities)


def _evaluations_given_by(path: Traversable) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()).get("evaluation") or {}


def _multiples(node: Mapping[Any, Any]) -> list[float]:
    return list(node.get("multiples") or [])


def _choices(group: str) -> list[str]:
    return sorted(path.name.removesuffix(".yaml") for path in CONFIGS.joinpath(group).iterdir() if ".yaml" in path.name)
