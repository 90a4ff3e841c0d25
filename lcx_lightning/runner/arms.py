"""Arms: what one configuration of a grid is called, and the keys under which its stages are cached."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lcx_lightning.attention.forward_pass import AUTO
from lcx_lightning.runner.trainer_config import TrainerSettings

CACHE_FORMAT = 2  # raise it when a stage's result would change for the same configuration
SOURCES = ("path", "data_files")  # of examples, in evaluations


@dataclass
class Arm:
    """One configuration at one seed, built once and found sound. Plain data, so that it travels to another process."""

    name: str
    methods: list[str]
    order: int  # rank in the grid
    config: dict[str, Any]  # resolved
    corpus: str | None = None  # identity of the documents; None until they are read
    pretrain_length: int = 0  # tokens
    train_length: int | None = None  # tokens; None: zero-shot
    max_context: int | None = None  # longest context of the method, tokens; None: there is no end
    lengths: list[int] = field(default_factory=list)  # evaluated, tokens
    not_evaluated: dict[str, str] = field(default_factory=dict)  # length -> reason
    fingerprint: str = ""
    equals_pretrained: bool = False
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  # declared by its evaluations, as plain data

    @property
    def seed(self) -> int:
        """The seed of base, extension and placement."""
        return self.config["seed"]

    @property
    def trainer(self) -> TrainerSettings:
        """The trainer of the arm."""
        return TrainerSettings.read(self.config["trainer"])

    @property
    def base_key(self) -> str:
        """Key of the base: model, data, training, seed."""
        recipe = self.config["model"]["recipe"]
        trained = [self.config["data"], self.corpus, self.seed] if recipe else []
        return key(self.config["model"], *trained)

    @property
    def extend_key(self) -> str | None:
        """Key of the extended model: base, method, training, data, seed. None: zero-shot."""
        if self.config["training"] is None:
            return None
        config = self.config
        parts = [self._method, config["training"], self.config["data"], self.corpus, self.seed]
        if self.evaluates_in_loop:  # kept with the model, which they do not change
            parts += [config["in_loop"], config["evaluation"]]
        return key(self.base_key, *parts)

    @property
    def evaluates_in_loop(self) -> bool:
        """Whether the arm is evaluated while it is trained."""
        return bool(self.config["training"] and self.config.get("in_loop", {}).get("every"))

    @property
    def run(self) -> str:
        """Id of the run: everything that its numbers depend on."""
        config = self.config
        parts = [self.base_key, self.extend_key, self._method, config["evaluation"], self.config["data"], self.seed]
        if not config["model"]["recipe"] and self.extend_key is None:  # else the documents are in these keys
            parts.append(self.corpus)
        if files := contents_in(config["evaluation"]):
            parts.append(files)
        return key(*parts)

    @property
    def _method(self) -> dict[str, Any]:
        """The method, what is in the files that it names, and how it is attended if that was chosen."""
        attention = self.config.get("attention", AUTO)
        chosen = {} if attention == AUTO else {"attention": attention}  # of the rounding of every number
        return self.config["method"] | files_in(self.config["method"]) | chosen

    @property
    def folder(self) -> Path:
        """Where records and run.json go."""
        name = "".join(c if c.isalnum() or c in "+_.=-" else "_" for c in self.name)
        return Path(self.config["results_dir"]) / self.config["experiment"] / f"{name}-s{self.seed}-{self.run}"

    def cache(self, stage: str, stage_key: str) -> Path:
        """Return the folder of a cached stage."""
        return Path(self.config["cache_dir"]).expanduser() / stage / stage_key


def key(*parts: Any) -> str:
    """Return 12 hexadecimal digits that change with any of the parts."""
    text = json.dumps([CACHE_FORMAT, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def contents_in(config: Any, *, named: bool = False) -> dict[str, str]:
    """Return the hash of every file that the sources in a configuration name, those of named folders included."""
    if isinstance(config, dict | list):
        items = config.items() if isinstance(config, dict) else enumerate(config)
        return {k: v for name, value in items for k, v in contents_in(value, named=named or name in SOURCES).items()}
    if not (named and isinstance(config, str)):
        return {}
    place = Path(config).expanduser()
    paths = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


def files_in(config: Any) -> dict[str, str]:
    """Return the hash of every file that a configuration names, so that a changed file is another arm."""
    if isinstance(config, dict):
        return {name: found for value in config.values() for name, found in files_in(value).items()}
    if isinstance(config, str) and Path(config).is_file():
        return {config: hashlib.sha256(Path(config).read_bytes()).hexdigest()}
    return {}
