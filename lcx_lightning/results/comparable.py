"""What may stand in one table: runs of one base and one corpus, and numbers of one protocol on the same documents.

Two runs belong to different parts of a report if their base models (but for the seed), pretraining lengths or corpora
differ, and with the models their vocabularies. Within a part, numbers of one measure are in different tables if any
setting of their evaluation differs, other than which lengths are read (`multiples`) and how many tokens at once
(`batch_tokens`), or if two finished runs have read other documents or windows at a length that both have. Evaluations
that differ only in their lengths therefore share a table where they have drawn the same windows. Methods, training,
factors and seeds never split a report.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.naming import Settings, apart, evaluations, leaves, named, settings, snake_case
from lcx_lightning.results.records import Experiment, Run, in_order

NO_SETTINGS = ("multiples", "batch_tokens")  # of a protocol: which numbers there are, and how they are computed
OF_PART = ("model", "files", "pretrain_length", "corpus", "data.corpus")
OF_RECIPE = ("data", "trainer")  # of the part as well, where the base was trained here
WHY = {  # by what differs
    "model": (("model", "files"), "two models differ in vocabulary, or in their perplexity from the start"),
    "pretraining length": (("pretrain_length",), "a multiple of L is another length"),
    "corpus": (("corpus", "data.corpus"), "other texts are read"),
    "training of the base": (("data", "trainer"), "other base models are extended"),
}
Facts = TypeVar("Facts")


class Split(NamedTuple):
    """Experiments that can each be compared within, by what they differ, and why they are apart; no words for one."""

    parts: list[Experiment]
    words: str = ""
    why: str = ""


class Protocol(NamedTuple):
    """What a run says of the numbers that it has of a measure."""

    settings: dict[str, Settings]  # by evaluation
    contents: dict[str, str]  # hashes of files and code behind the evaluations
    examples: tuple  # the evaluations, and the identity of their examples
    documents: dict[int, set[tuple]]  # read at each length: dataset, document and window


def parts_of(experiment: Experiment) -> Split:
    """The parts of an experiment that have one base and one corpus each; arms are named anew within each."""
    groups = _groups([(run, _of_part(run)) for run in experiment.runs], lambda a, b: a != b)
    if len(groups) == 1:
        return Split([experiment])
    every = [_of_part(group[0], in_words=True) for group in groups]
    short = apart([{key: value for key, value in one.items() if _begins(key, OF_PART)} for one in every])
    said = short if len({tuple(one) for one in short}) == len(every) else apart(every)
    words = [", ".join(one) or f"part {number}" for number, one in enumerate(said, start=1)]
    keys = dict.fromkeys(key for one in every for key in one)
    differing = [key for key in keys if len({repr(one.get(key)) for one in every}) > 1]
    found = {what: why for what, (parts, why) in WHY.items() if any(_begins(key, parts) for key in differing)}
    found = {"model": found["model"]} if "model" in found else found  # what else differs follows from it
    return Split(
        _parts(experiment, groups, words), f"by {', '.join(found)} ({' | '.join(words)})", "; ".join(found.values())
    )


def groups_of(experiment: Experiment, measure: Measure) -> Split:
    """The parts of an experiment whose numbers of a measure can be compared, with the runs that were to have any."""
    return experiment.once(("groups", measure), lambda: _grouped(experiment, measure))


def _grouped(experiment: Experiment, measure: Measure) -> Split:
    runs = [run for run in experiment.runs if _is_meant(run, measure)] or experiment.runs
    groups = _groups([(run, _protocol(run, measure)) for run in runs], _conflict)
    if len(groups) == 1:
        whole = len(runs) == len(experiment.runs)
        return Split([experiment if whole else replace(experiment, runs=in_order(named(runs)))])
    every = [dict(leaves(_protocol(group[0], measure, every=True).settings)) for group in groups]
    words = [", ".join(said) or f"documents {number}" for number, said in enumerate(apart(every), start=1)]
    why = "numbers under other settings or on other documents are not of the same thing"
    return Split(_parts(experiment, groups, words), f"({' | '.join(words)})", why)


def _parts(experiment: Experiment, groups: list[list[Run]], words: list[str]) -> list[Experiment]:
    parts = [", ".join(filter(None, [experiment.part, said])) for said in words]
    return [
        replace(experiment, runs=in_order(named(group)), part=part) for group, part in zip(groups, parts, strict=True)
    ]


def _groups(runs: list[tuple[Run, Facts]], conflict: Callable[[Facts, Facts], bool]) -> list[list[Run]]:
    """The runs in lists, filled one by one, in none of which two are in conflict."""
    groups: list[tuple[list[Run], list[Facts]]] = []  # of facts that are equal, one stands for all
    for run, facts in runs:
        free = (group for group in groups if facts in group[1] or not any(conflict(facts, one) for one in group[1]))
        group = next(free, None)
        if group is None:
            groups.append(group := ([], []))
        group[0].append(run)
        if facts not in group[1]:
            group[1].append(facts)
    return [some for some, _ in groups]


def _of_part(run: Run, in_words: bool = False) -> Settings:
    """The settings and contents of a run's base model and corpus. `in_words`: also where the corpus lies."""
    found = settings(run.info)
    trained = any(key.startswith("model.recipe.") for key in found)
    found = {key: value for key, value in found.items() if _begins(key, OF_PART + OF_RECIPE * trained)}
    if "corpus" in found and not in_words:  # the texts count, and not the path by which they are read
        found = {key: value for key, value in found.items() if not _begins(key, ("data.corpus",))}
    return found


def _protocol(run: Run, measure: Measure, every: bool = False) -> Protocol:
    """What a run says of its numbers of a measure. `every`: with the settings that make no other protocol."""
    rows = [row for row in run.rows if (row["protocol"], row["metric"]) == measure]
    chosen, names = evaluations(run.info), {row["evaluation"] for row in rows}
    found = {name: one for name, one in chosen.items() if _makes(name, one, names, measure.protocol)} or chosen
    left_out = () if every else NO_SETTINGS
    kept = {name: {k: v for k, v in leaves(one) if k not in left_out} for name, one in found.items()}
    documents: dict[int, set[tuple]] = {}
    for row in rows if run.finished else ():
        place = (row.get("dataset"), row["document"], row["at"].get("window"))
        documents.setdefault(row["context_length"], set()).add(place)
    contents = (run.info.get("contents") or {}).get("evaluation") or {}
    return Protocol(kept, contents, (sorted(chosen), run.info.get("examples")), documents)


def _makes(name: str, evaluation: Mapping[str, Any], names: set[str], protocol: str) -> bool:
    """Whether rows of evaluations of these names, and of this protocol, may come from a configured evaluation."""
    if "protocol" in evaluation:
        return evaluation["protocol"] == protocol
    class_name = str(evaluation["_target_"]).rpartition(".")[2]
    return bool({name, evaluation.get("name"), snake_case(class_name)} & names)


def _is_meant(run: Run, measure: Measure) -> bool:
    """Whether a run has numbers of a measure, or was to have some."""
    has = any((row["protocol"], row["metric"]) == measure for row in run.rows)
    return has or not run.metrics or measure.key in run.metrics


def _conflict(a: Protocol, b: Protocol) -> bool:
    """Whether the numbers that two runs have of a measure are not of the same thing."""
    shared = a.settings.keys() & b.settings.keys()
    if any(a.settings[name] != b.settings[name] for name in shared):
        return True
    if not shared and a.settings and b.settings and not any(one in b.settings.values() for one in a.settings.values()):
        return True
    if any(a.contents[name] != b.contents[name] for name in a.contents.keys() & b.contents.keys()):
        return True
    if a.examples[0] == b.examples[0] and a.examples[1] != b.examples[1]:
        return True
    return any(a.documents[n] != b.documents[n] for n in a.documents.keys() & b.documents.keys())


def _begins(key: str, parts: tuple[str, ...]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)
