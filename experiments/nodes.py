"""The commands of one run on several machines, one on each, and what they tell each other through a store."""

import os
import pickle
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from experiments import torchrun
from lcx_lightning.training import preemption

MEETING = 600  # seconds in which all commands must have been started
SILENCE = 30  # seconds after which a command that says nothing is lost
LAST_WORDS = 60  # seconds that the first waits at its end for the others
TURN = 0.2  # seconds
VARIABLES = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Meeting:
    """Where the commands of a run meet."""

    node: int  # this one
    count: int
    address: str
    port: int
    kept: bool  # there is a store already, torchrun's; else the first command opens one
    name: str  # of what belongs to this run in the store


def meeting(trainer: Any) -> Meeting | None:
    """Return where the commands of a run on several machines meet, by the environment; None: there is one machine.

    Raises:
        ValueError: If the environment does not say it.
    """
    count = trainer.get("num_nodes", 1)
    if count == 1:
        return None
    if torchrun.started():
        kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        name = f"{os.environ['TORCHELASTIC_RUN_ID']}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        node = os.environ["GROUP_RANK"]
    else:
        kept, name, node = False, "run", os.environ.get("NODE_RANK", "")
    port, address = os.environ.get("MASTER_PORT", ""), os.environ.get("MASTER_ADDR", "")
    if not (node.isdigit() and int(node) < count and address and port.isdigit()):
        given = ", ".join(f"{variable}={os.environ.get(variable)}" for variable in VARIABLES)
        raise ValueError(
            f"Each of {count} machines needs NODE_RANK, from 0 to {count - 1}, and MASTER_ADDR and MASTER_PORT of the "
            f"first in its environment, got {given}: set them, or start the command with torchrun."
        )
    return Meeting(int(node), count, address, int(port), kept, name)


class Nodes:
    """One of the commands, in touch with the others.

    What each has said is one dictionary, which a thread sends and receives several times a second; so a machine that is
    gone is noticed, whatever this process is doing.

    Raises:
        ValueError: If the store cannot be opened, or is not there within ten minutes.
    """

    def __init__(self, where: Meeting, command: list[str]) -> None:
        preemption.listen()
        self.where = where
        self.others = [node for node in range(where.count) if node != where.node]
        opens = where.node == 0 and not where.kept
        wait = timedelta(seconds=MEETING)
        try:
            store = TCPStore(where.address, where.port, is_master=opens, timeout=wait, wait_for_workers=False)
        except dist.DistError as error:
            todo = "choose another MASTER_PORT" if opens else "start the command with NODE_RANK=0 there"
            raise ValueError(f"The machines cannot meet at {where.address}:{where.port}, {todo}. {error}") from error
        self._store = PrefixStore(where.name, store)
        self._said: dict[str, Any] = {"command": command}
        self._heard: dict[int, dict[str, Any]] = {}
        self._seen: dict[int, float] = {}
        self._cut = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    @property
    def first(self) -> bool:
        """Whether this command decides, writes and reports."""
        return self.where.node == 0

    def say(self, **words: Any) -> None:
        """Tell all others; a word stays until it is said anew."""
        self._said = self._said | words

    def heard(self, node: int) -> dict[str, Any]:
        """Return what a command has said, nothing if it has not been there."""
        return self._heard.get(node, {})

    def lost(self, node: int) -> str:
        """Return why nothing more is to be heard of a command, empty if it is there or has not been there yet."""
        if self._cut:
            return f"node {node} cannot be reached: {self._cut}"
        if self.heard(node).get("bye"):
            return f"node {node} has ended"
        if node in self._seen and time.monotonic() - self._seen[node] > SILENCE:
            return f"nothing was heard of node {node} for {SILENCE} s"
        return ""

    def asked(self) -> bool:
        """Return whether another machine was asked for back."""
        return any(self.heard(node).get("asked") for node in self.others)

    def gather(self, command: list[str]) -> None:
        """Wait for all others to be ready, or for one to be asked for back.

        Raises:
            ValueError: If one does not come, runs something else, or cannot run this.
        """
        until = time.monotonic() + MEETING
        while absent := [node for node in self.others if not self.heard(node).get("ready")]:
            for node in absent:
                if why := self.heard(node).get("refused") or self.lost(node):
                    raise ValueError(f"On node {node}: {why}")
                if self.heard(node).get("command", command) != command:
                    raise ValueError(
                        f"All machines need the same command, but node {node} runs {self.heard(node)['command']}, "
                        f"this one {command}."
                    )
            if preemption.asked() or self.asked():
                return
            if time.monotonic() > until:
                raise ValueError(f"Node {absent[0]} was not there within {MEETING} s: start the command on it.")
            time.sleep(TURN)

    def close(self, code: int) -> None:
        """Say the last word: the exit code of the run if this is the first command, which waits for the others."""
        if self.first:
            self.say(end=code)
            until = time.monotonic() + LAST_WORDS
            while time.monotonic() < until and not all(self.lost(node) for node in self.others):
                time.sleep(TURN)
        else:
            self.say(bye=True)
        self._closing.set()
        self._thread.join(2 * SILENCE)

    def _talk(self) -> None:
        turn, last = 0, False
        try:
            while not last:
                last = self._closing.wait(TURN)
                turn += 1
                self._store.set(str(self.where.node), pickle.dumps(self._said | {"turn": turn}).hex())
                for node in self.others:
                    self._listen_to(node)
        except dist.DistError as error:
            self._cut = str(error).splitlines()[0]

    def _listen_to(self, node: int) -> None:
        if not self._store.check([str(node)]):
            return
        told = pickle.loads(bytes.fromhex(self._store.get(str(node)).decode()))
        if told["turn"] != self.heard(node).get("turn"):
            self._heard[node], self._seen[node] = told, time.monotonic()
