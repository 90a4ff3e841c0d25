"""Jobs whose processes are on several machines: each starts and watches its own, the first says which and when."""

import time
from typing import Any

from rich.console import Console
from rich.markup import escape

from experiments.arms import Arm
from experiments.nodes import TURN, Nodes
from experiments.processes import Event, Here, LocalTeam
from experiments.ranks import Place, process_count
from experiments.schedule import FAILED, Job, ended, run_jobs
from lcx_lightning.training import preemption

HEARING = 5  # seconds in which every machine may say what went wrong there


class Together:
    """Start jobs on all machines, one at a time.

    Args:
        here: Starts the processes of this machine.
        nodes: The commands of all machines.
        turn: Number of the job that is to be started, as the first machine counts them; it counts by itself.
    """

    elsewhere = False

    def __init__(self, here: Here, nodes: Nodes, turn: int = 0) -> None:
        self._here, self._nodes, self._turn = here, nodes, turn
        self._team: SharedTeam | None = None

    def room(self, trainer: dict[str, Any], running: list[Any]) -> bool:
        """Return whether no other job runs."""
        return not running

    def start(self, number: int, name: str, arm: Arm, only_base: bool, beside: int) -> "SharedTeam":
        """Start the processes of this machine, on the first of them by telling the others to."""
        where = self._nodes.where
        if self._nodes.first:
            self._turn += 1
            self._nodes.say(job=(self._turn, name, arm, only_base))
        ranks = process_count(arm.config["trainer"]) * where.count
        place = Place(ranks, where.address, where.port, where.node, name=f"{where.name}/job {self._turn}")
        own = self._here.start(number, name, arm, only_base, beside, place)
        self._team = SharedTeam(own, self._nodes, self._turn, number)
        return self._team

    def events(self) -> list[Event]:
        """Return what the processes of this machine have told; failures only with what was said elsewhere."""
        if self._nodes.asked():
            preemption.ask()
        told = self._here.events()
        if self._team is None:
            return told
        self._team.error = self._team.error or next((e[4] for e in told if e[1] == "failed"), "")
        return [event for event in told if event[1] != "failed"] + self._team.verdict()


class SharedTeam:
    """The processes of a running job: those of this machine, and each other machine as if it were one."""

    def __init__(self, own: LocalTeam, nodes: Nodes, turn: int, number: int) -> None:
        self._own, self._nodes, self._turn, self._number = own, nodes, turn, number
        self.error = ""  # on this machine
        self._since: float | None = None  # of the first trouble, monotonic
        self._told: list[Event] = []

    def codes(self) -> dict[str, int | None]:
        """Return the exit codes; when something went wrong, not before the others had the time to say what."""
        own = self._own.codes()
        here = _together(own)
        if here is not None:
            self._nodes.say(done=(self._turn, here, self.error))
        others = {node: self._done(node) for node in self._nodes.others}
        said = {self._nodes.where.node: (here, self.error), **{n: d for n, d in others.items() if d is not None}}
        codes = own | {f"node {node}": done and done[0] for node, done in others.items()}
        if not any(code for code, _ in said.values()):
            return codes
        self._since = self._since or time.monotonic()
        waited = time.monotonic() - self._since
        if waited < HEARING and (waited < 1 or here is None or None in others.values()):
            return {"all": None}
        self._told = [(self._number, "failed", 0, 1, _all_errors(said))]
        return codes

    def verdict(self) -> list[Event]:
        """Return what went wrong on all machines, as an event, when it is known."""
        return self._told

    def give_back(self) -> None:
        """Ask all processes of all machines to save and to end."""
        self._nodes.say(asked=True)
        self._own.give_back()

    def end(self) -> bool:
        """Kill the processes of this machine that still run; the others then kill theirs."""
        killed = self._own.end()
        if killed:
            self._nodes.say(done=(self._turn, FAILED, self.error))
        return killed

    def _done(self, node: int) -> tuple[int, str] | None:
        """Return exit code and error of another machine's processes, None while they run."""
        if lost := self._nodes.lost(node):
            return FAILED, lost
        told = self._nodes.heard(node)
        turn, code, error = told.get("done", (0, 0, ""))
        if turn == self._turn:
            return code, error
        return (FAILED, "") if max(turn, told.get("job", (0,))[0]) > self._turn else None


def follow(nodes: Nodes, here: Here, console: Console) -> int:
    """Start what the first machine starts, until it ends, and return the exit code that it ends with."""
    last = 0
    while True:
        if preemption.asked():
            nodes.say(asked=True)
        told = nodes.heard(0)
        if "end" in told:
            return told["end"]
        if lost := nodes.lost(0):
            console.print(f"[red]error:[/] {escape(lost)}", highlight=False, soft_wrap=True)
            return FAILED
        turn, *given = told.get("job", (0,))
        if turn > last:
            last = turn
            run_jobs([Job(*given)], Together(here, nodes, turn), Console(quiet=True))
        time.sleep(TURN)


def _together(codes: dict[str, int | None]) -> int | None:
    """Return one exit code for several: that of a killed process first, None while all that ended did well."""
    broken = [code for code in codes.values() if code]
    if broken:
        return preemption.EXIT_CODE if preemption.EXIT_CODE in broken else min(broken)
    return None if None in codes.values() else 0


def _all_errors(said: dict[int, tuple[int | None, str]]) -> str:
    """Return what went wrong on every machine, the first lines together."""
    errors = {
        f"node {node}": error or (ended(code, "a process") if code else "") for node, (code, error) in said.items()
    }
    errors = {name: error for name, error in errors.items() if error}
    first = "; ".join(f"{name}: {error.splitlines()[0]}" for name, error in errors.items())
    return "\n".join([first, *(f"{name}:\n{error}" for name, error in errors.items())])
