"""Weights & Biases beside the records: the same numbers, online with a key, offline without one; it never hangs."""

import contextlib
import netrc
import os
import socket
import warnings
from collections import defaultdict
from typing import Any, Literal
from urllib.parse import urlparse

from lcx_lightning.results.analysis.estimates import score
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Run, columns_of
from lcx_lightning.schema.checked import checked

HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")
PATIENCE = 5.0  # seconds to reach the server, and for it to answer


class WandbRun:
    """One run of the project, with the arm's configuration under the single key `cfg`.

    A sweep owns the top-level keys of a run's configuration, and ignores what a program writes to them.

    Args:
        project: W&B project.
        entity: W&B team or user. None for the account's default.
        mode: online, offline, or auto: online if there is a key and the server answers. WANDB_MODE overrides auto.
        folder: Folder for the files of W&B.
        run: Id of the run; a resumed run continues under it.
        cfg: The arm's resolved configuration.

    Raises:
        ValueError: If the mode is unknown.
    """

    @checked
    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        mode: Literal["auto", "online", "offline"],
        folder: str,
        run: str,
        cfg: dict[str, Any],
    ) -> None:
        import wandb

        os.makedirs(folder, exist_ok=True)
        in_sweep = "WANDB_SWEEP_ID" in os.environ  # the agent has chosen the id
        self.run = wandb.init(
            project=project,
            entity=entity,
            mode=choose_mode(mode),  # pyright: ignore[reportArgumentType]
            dir=folder,
            id=None if in_sweep else run,
            resume="allow",
            group=cfg["experiment"],
            config={"cfg": cfg},
            settings=wandb.Settings(init_timeout=PATIENCE * 6, silent=True),
        )

    def log_records(self, run: Run) -> None:
        """Add every metric by protocol and length to the summary, as it is shown, and the records as a table."""
        import wandb

        cells: dict[tuple[Measure, float], list[dict[str, Any]]] = defaultdict(list)
        for row in run.rows:
            measure = Measure(row["protocol"], row["metric"])
            cells[measure, run.metric(measure).place(row)].append(row)
        for (measure, place), rows in cells.items():
            kind = "perplexity" if measure.metric == "nll" else measure.metric
            self.run.summary.update({f"{kind}/{measure.protocol}/{place}": score(rows, run.metric(measure))})
        flat = [columns_of(row) for row in run.rows]
        columns: list[Any] = sorted({column for row in flat for column in row})
        self.run.log({"records": wandb.Table(columns=columns, data=[[row.get(c) for c in columns] for row in flat])})

    def log_throughput(self, throughput: dict[str, Any]) -> None:
        """Add what training took to the summary."""
        self.run.summary.update({f"throughput/{name}": value for name, value in throughput.items()})

    def finish(self) -> None:
        """End the run, so that the next arm starts one of its own."""
        self.run.finish()


def choose_mode(mode: str) -> str:
    """Return online or offline. Without a key W&B would prompt for one; without a network it would wait for minutes.

    Raises:
        ValueError: If the mode is unknown.
    """
    if mode not in ("auto", "online", "offline"):
        raise ValueError(f"The W&B mode is auto, online or offline, got {mode!r}.")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE", "auto")
    if mode != "auto":
        return mode
    if not _has_key():
        return "offline"
    base = urlparse(os.environ.get("WANDB_BASE_URL", f"https://{HOSTS[0]}"))
    port = base.port or (443 if base.scheme == "https" else 80)
    try:
        socket.create_connection((base.hostname, port), timeout=PATIENCE).close()
    except OSError as error:
        warnings.warn(
            f"W&B at {base.hostname} does not answer ({error}): logging offline. `wandb sync` uploads the run later.",
            stacklevel=2,
        )
        return "offline"
    return "online"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "")).hostname
    with contextlib.suppress(FileNotFoundError, netrc.NetrcParseError):
        known = netrc.netrc(os.environ.get("NETRC")).hosts
        return any(name in known for name in ([host] if host else HOSTS))
    return False
