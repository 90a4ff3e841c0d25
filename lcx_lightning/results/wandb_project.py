"""A project of Weights & Biases, read back: what runs have logged there, as experiments with records.

A run that has ended is read from the files that it logged, exactly. One that has not, or was killed, has logged none:
of it the configuration, the state and the reason are known, and no numbers.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from lcx_lightning.results.logged import RECORDS_TYPE, artifact_of
from lcx_lightning.results.records import RUN, Experiment, Run, joined, read_experiment_file, read_run
from lcx_lightning.results.wandb_mode import why_out_of_reach

if TYPE_CHECKING:
    import wandb

PREFIX = "wandb:"  # ahead of a project, where a folder could stand as well
PATIENCE = 30  # seconds for an answer
AT_ONCE = 8  # runs that are read at the same time
PAGE = 100  # runs of one answer
ENDED = ("finished", "failed")  # of the states of W&B those that run.json has as well
TAKEN = ("exist", "duplicate", "409")  # in what W&B says of the name of a chart
OF_BOTH = ("run", "arm", "method", "factor", "seed", "experiment", "pretrain_length", "train_length")  # knobs


class OutOfReachError(ValueError):
    """Raised when W&B does not answer, has no such project, or refuses it."""


class Project(NamedTuple):
    """Where runs are in W&B."""

    entity: str
    name: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.name}"


class Found(NamedTuple):
    """The experiments of a project, in the order of their first runs, and in a sentence for each what is missing."""

    experiments: list[Experiment]
    missing: list[str]


def project_of(text: str) -> Project:
    """The project that is meant by `entity/project`, also with `wandb:` ahead of it.

    Raises:
        ValueError: If it is none.
    """
    parts = text.removeprefix(PREFIX).split("/")
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"A project of W&B is ENTITY/PROJECT, as in the address of its page, got {text!r}.")
    return Project(*parts)


@contextmanager
def asked(project: Project) -> Iterator["wandb.Api"]:
    """Give the interface of W&B, and name the project in whatever goes wrong with it.

    Raises:
        OutOfReachError: If W&B is out of reach, or answers with an error.
    """
    if problem := why_out_of_reach():
        raise OutOfReachError(f"The W&B project {project} is out of reach. {problem}.")
    import wandb

    try:
        wandb.setup(wandb.Settings(silent=True))
        yield wandb.Api(timeout=PATIENCE)
    except Exception as error:  # whatever W&B raises
        said = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
        raise OutOfReachError(
            f"The W&B project {project} is out of reach: {said}. Check its name, and that the key may use it."
        ) from error


def read_project(project: Project) -> Found:
    """Return what the runs of a project have logged.

    Raises:
        OutOfReachError: If it cannot be read.
        ValueError: If none of its runs is that of an arm.
    """
    with asked(project) as api, TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as several:
        found = [one for one in api.runs(str(project), per_page=PAGE, lazy=False) if _is_arm(one)]
        read = [*several.map(lambda one: _read(api, project, one, Path(folder)), found)]
    if not read:
        raise ValueError(
            f"The W&B project {project} has no runs of arms. Log some first, with `lcx run ... logger=wandb`."
        )
    by_name: dict[str, list[tuple[dict[str, Any], Run]]] = {}
    for meta, run, _ in read:
        by_name.setdefault(str(run.info.get("experiment") or project.name), []).append((meta, run))
    experiments = [_experiment(project, name, some) for name, some in by_name.items()]
    return Found(experiments, [missing for *_, missing in read if missing])


def create_chart(api: "wandb.Api", entity: str, name: str, spec: dict[str, Any]) -> bool:
    """Create a chart of an entity, and return whether it is new: of a name that is taken, nothing is changed."""
    try:
        api.create_custom_chart(entity, name, name, "vega2", "private", spec)
    except Exception as error:  # W&B raises one kind for whatever it is
        if any(word in str(error).lower() for word in TAKEN):
            return False
        raise
    return True


def _experiment(project: Project, name: str, read: list[tuple[dict[str, Any], Run]]) -> Experiment:
    """The runs of one experiment in the order of its grid, with what its latest run says of it."""
    metas = [{key: value for key, value in meta.items() if key != "runs"} for meta, _ in read if meta]
    runs = sorted((run for _, run in read), key=lambda run: run.info.get("order", len(read)))
    return joined([Experiment(Path(f"{PREFIX}{project}"), {"name": name} | (metas or [{}])[-1], runs)])


def _is_arm(one: Any) -> bool:
    """Whether a run of W&B is that of an arm; others are those of bases, of refused commands, and of other programs."""
    known = one.config.get("lcx")
    return isinstance(known, Mapping) and "arm" in known and one.id.partition("-")[0] != known.get("base")


def _read(api: "wandb.Api", project: Project, one: Any, root: Path) -> tuple[dict[str, Any], Run, str]:
    """What is said of the experiment of a run, the run, and what of it W&B does not have; empty if it has all."""
    folder = root / one.id
    told = {"id": one.id, "url": one.url, "mode": "online", "folder": None, "sync": None}
    run, missing = Run(folder, _known_of(one), [], {}), f"has logged no records: it is {one.state}"
    if place := _downloaded(api, project, one, folder):
        try:
            run, missing = read_run(place), ""
        except ValueError as error:
            missing = f"has logged files that are damaged: {str(error).replace(f'{root}/', '')}"
    said = missing and f"The run {one.name} ({one.id}) of {project} {missing}."
    return read_experiment_file(folder), replace(run, info=run.info | {"wandb": told}), said


def _downloaded(api: "wandb.Api", project: Project, one: Any, folder: Path) -> Path | None:
    """The folder of a run with the files that it has logged; None if it has logged none."""
    from wandb.errors import CommError

    try:
        artifact = api.artifact(f"{project}/{artifact_of(one.config['lcx']['run'])}:latest", type=RECORDS_TYPE)
    except CommError as error:
        if "not found" in str(error):
            return None
        raise
    artifact.download(root=str(folder))
    return next((path.parent for path in folder.glob(f"*/{RUN}")), None)


def _known_of(one: Any) -> dict[str, Any]:
    """What would stand in run.json, as far as the configuration and the summary of a run of W&B say it."""
    known, summary = one.config["lcx"], one.summary
    status = summary.get("status") or one.state
    state = status if status in ENDED else "running" if one.state == "running" else "interrupted"
    said = {name: known.get(name) for name in OF_BOTH} | {"state": state, "reason": summary.get("reason")}
    said |= {
        "fingerprint": known.get("fingerprint"),
        "corpus": known.get("corpus"),
        "max_context": known.get("max_context"),
    }
    return said | {"base": {"key": known.get("base")}, "config": one.config.get("cfg")}
