"""Arms: what one configuration of a grid is called, and the keys under which its stages are cached."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lcx_lightning.attention.names import AUTO
from lcx_lightning.runner.secrets import without_readers
from lcx_lightning.runner.trainer_config import TrainerSettings

CACHE_FORMAT = 4  # raise it when a stage's result would change for the same configuration
PLACES = ("cache", "origin", "package")  # settings of a model's source that say where it is found
OF_TRAINED = ("mixture", "documents")  # values of data that training alone depends on
OF_FILES = ("name", "file", "revision", "tokenizer")  # the same of a source that is files
LONGEST = 100  # characters of an arm's name in that of its folder; the id tells those apart that begin alike


@dataclass
class Arm:
    """One configuration at one seed, built once and found sound. Plain data, so that it travels to another process."""

    name: str
    methods: list[str]
    order: int  # rank in the grid
    config: dict[str, Any]  # resolved
    factor: float | None = None  # scale factor s; None where nothing of the arm depends on it
    corpus: str | None = None  # identity of the documents; None until they are read
    model: str | None = None  # identity of the model folder; None until it is read, and where the model is no folder
    examples: str | None = None  # identity of the examples of its tasks; None until they are read
    contents: dict[str, dict[str, str]] = field(default_factory=dict)  # hashes of files and code, by part of the config
    pretrain_length: int = 0  # tokens
    train_length: int | None = None  # tokens; None: zero-shot
    grows: bool = False  # whether the scale factor grows with every token of a generation
    max_context: int | None = None  # longest context of the method, tokens; None: there is no end
    lengths: list[int] = field(default_factory=list)  # evaluated, tokens
    not_evaluated: dict[str, str] = field(default_factory=dict)  # length -> reason
    fingerprint: str = ""
    training_fingerprint: str = ""  # the part of it that training depends on
    equals_pretrained: bool = False
    begun: bool = False  # whether this process computes it, or has: no other may write that it failed
    leads: bool = False  # whether it is the first arm of its command: W&B shows it as the cell of a sweep
    turned: list[str] = field(default_factory=list)  # what its cell of a sweep turns: `window=16`
    command: str = ""  # command line of which it is the only arm
    known_at: int | None = None  # when run.json was last written before any job began; None if there was none
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  # declared by its evaluations, as plain data
    served: dict[str, list[int]] = field(default_factory=dict)  # lengths of each measure, tokens
    learns: bool = False  # whether its method has parameters
    in_loop: list[str] = field(default_factory=list)  # names of what is logged in training: in_loop/last_k/nll/512

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
        trained = [*self._part("data"), self.corpus, self.pretrain_length, self.seed, self.trainer.numerics]
        return key(*self._model, self.model, *(trained if self.config["model"]["recipe"] else []))

    @property
    def extend_key(self) -> str | None:
        """Key of the extended model: base, method, training, data, seed. None: zero-shot."""
        if self.config["training"] is None:
            return None
        parts = [*self._method, *self._part("training"), *self._part("data"), self.corpus, self.trainer.numerics]
        if self.evaluates_in_loop:  # kept with the model, which they do not change
            parts += [*self._part("in_loop"), *self._part("evaluation"), self.examples, *self._growth]
        return key(self.base_key, *parts, self.pretrain_length, self.seed)

    @property
    def evaluates_in_loop(self) -> bool:
        """Whether the arm is evaluated while it is trained."""
        return bool(self.config["training"] and self.config.get("in_loop", {}).get("every"))

    @property
    def run(self) -> str:
        """Id of the run: everything that its numbers depend on."""
        data, files = self._part("data")
        if not (self.config["training"] or self.config["model"]["recipe"]):
            data = {name: value for name, value in data.items() if name not in OF_TRAINED}
        parts = [*self._method, *self._part("evaluation"), self.examples, data, files, self.corpus]
        parts += self._growth
        return key(self.base_key, self.extend_key, *parts, self.pretrain_length, self.seed)

    @property
    def _model(self) -> list[Any]:
        """The model; one that is files of this machine goes by their contents, wherever they are."""
        part, contents = self._part("model")
        places = (*PLACES, *(OF_FILES if self.model else ()))
        there = {str(part["source"].get(name)) for name in places}
        part = part | {"source": {name: value for name, value in part["source"].items() if name not in places}}
        return [part, (contents and {name: value for name, value in contents.items() if name not in there}) or None]

    @property
    def _method(self) -> list[Any]:
        """The method, and how it is attended if that was chosen."""
        attention = self.config.get("attention", AUTO)
        chosen = {} if attention == AUTO else {"attention": attention}  # of the rounding of every number
        return [*self._part("method"), chosen]

    @property
    def _growth(self) -> list[str]:
        """What tells apart an arm whose factor grows in generations, which training does not depend on."""
        return ["grow"] if self.grows else []

    def _part(self, name: str) -> list[Any]:
        """Return a part of the configuration, without what tells who reads it, and the hashes of what it names."""
        return [without_readers(self.config[name]), self.contents.get(name)]

    @property
    def folder(self) -> Path:
        """Where records and run.json go."""
        name = "".join(c if c.isalnum() or c in "+_.=-" else "_" for c in self.name)[:LONGEST]
        return Path(self.config["results_dir"]) / self.config["experiment"] / f"{name}-s{self.seed}-{self.run}"

    def cache(self, stage: str, stage_key: str) -> Path:
        """Return the folder of a cached stage."""
        return Path(self.config["cache_dir"]).expanduser() / stage / stage_key


def key(*parts: Any) -> str:
    """Return 12 hexadecimal digits that change with any of the parts."""
    text = json.dumps([CACHE_FORMAT, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
