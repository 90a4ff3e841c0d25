"""A double of the W&B server on 127.0.0.1, for the real client: sweeps, agents, runs, and ways to fail."""

import gzip
import itertools
import json
import re
import threading
from collections import defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from support import wandb_answers, wandb_pages

KEY = "0" * 40
GRAPHQL = re.compile(r"\b(?:query|mutation)\s+(\w+)")
STREAM = re.compile(r"/files/[^/]+/[^/]+/([^/]+)/file_stream")


class WandbServer:
    """What it was told, by run id, and how it answers.

    Attributes:
        mode: ok; silent: takes connections and never answers; 404: answers every request with that; 409: refuses the
            run ids in `deleted` as those of deleted runs.
        runs: Each run: config, summary, history, state, exitcode, and what its client says of it.
        ended: States and exit codes with which each run has ended, one after the other.
        sweeps: Each sweep: its configuration, the cells that are left, and the ids of its runs.
        views: Saved views and reports by id, and in `charts` the charts by entity and name.
        unknown: Requests that the double does not know, which a test wants to be none.
    """

    def __init__(self, root, mode="ok"):
        self.root, self.mode, self.lock = root, mode, threading.RLock()
        self.runs, self.sweeps, self.agents, self.artifacts = {}, {}, {}, {}
        self.views, self.charts = {}, {}
        self.ended, self.told = defaultdict(list), threading.Event()
        self.deleted, self.stopping, self.unknown, self.released = set(), set(), [], threading.Event()
        self.http = _Http(("127.0.0.1", 0), type("Handler", (_Handler,), {"backend": self}))
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def environment(self):
        """Return the variables under which a client uses this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}

    def die(self):
        """Answer nothing more, from now on."""
        self.released.set()
        self.http.shutdown()
        self.http.server_close()

    def run(self, name):
        """Return what is known of a run, new if it is not known yet."""
        self.told.set()
        empty = {"config": {}, "summary": {}, "history": [], "exitcode": None, "state": "pending", "preempting": False}
        return self.runs.setdefault(name, empty)

    def lcx(self, name):
        """Return the knobs that a run was logged with."""
        return self.runs[name]["config"]["lcx"]["value"]

    def add_sweep(self, name, text):
        """Take a sweep whose cells are the product of all values."""
        config = yaml.safe_load(text)
        axes = [[(key, value) for value in _values(one)] for key, one in config["parameters"].items()]
        cells = [dict(cell) for cell in itertools.product(*axes)]
        self.sweeps[name] = {"config": config, "text": text, "cells": cells, "runs": []}

    def next_command(self, agent, busy):
        """Return what an agent is to do: a preempted run again, the next cell, a stop, or to end."""
        sweep = self.sweeps[self.agents[agent]]
        if stopped := [name for name in busy if name in self.stopping]:
            return {"type": "stop", "run_id": stopped[0]}
        if busy:
            return None
        program = sweep["config"]["program"]
        for name in sweep["runs"]:
            if self.runs[name]["state"] == "preempted":
                self.runs[name].update(state="pending", preempting=False)
                return {"type": "resume", "run_id": name, "program": program, "args": self.runs[name]["args"]}
        if not sweep["cells"]:
            return {"type": "exit"}
        name = f"cell{len(self.runs)}"
        args = {key: {"value": value} for key, value in sweep["cells"].pop(0).items()}
        self.run(name).update(args=args)
        sweep["runs"].append(name)
        return {"type": "run", "run_id": name, "program": program, "args": args}

    def stream(self, name, body):
        """Take history, summary and the end of a run."""
        run = self.run(name)
        for file, chunk in (body.get("files") or {}).items():
            lines = chunk.get("content") or []
            if file == "wandb-history.jsonl":
                rows = [json.loads(line) for line in lines]
                offset = chunk.get("offset", len(run["history"]))
                run["history"][offset : offset + len(rows)] = rows
            elif file == "wandb-summary.json":
                run["summary"] = json.loads(lines[-1])
        run["preempting"] = bool(body.get("preempting")) or run["preempting"]
        if body.get("complete"):
            run["exitcode"] = body.get("exitcode")
            ended = "preempted" if run["preempting"] else "stopped" if name in self.stopping else "failed"
            run["state"] = "finished" if run["exitcode"] == 0 else ended
            self.ended[name].append((run["state"], run["exitcode"]))
        return {"limits": {}, "stopped": name in self.stopping}


@contextmanager
def wandb_server(root, mode="ok"):
    """Give a server that runs."""
    server = WandbServer(root, mode)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if not server.released.is_set():
            server.die()
        thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """Pass over connections that a client has dropped."""


def _values(parameter):
    return parameter["values"] if "values" in parameter else [parameter["value"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    backend: WandbServer

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.body()
        if self.refused():
            return
        if self.path.startswith("/graphql"):
            self.send(*self.asked(json.loads(body)))
        elif found := STREAM.match(self.path):
            with self.backend.lock:
                self.send(200, self.backend.stream(found[1], json.loads(body)))
        else:
            self.send(200, {})

    def do_PUT(self):
        body = self.body()
        if not self.refused():
            path = self.backend.root / self.path.lstrip("/").split("?")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            self.send(200, {})

    def do_GET(self):
        if self.refused():
            return
        path = self.backend.root / self.path.lstrip("/").split("?")[0]
        self.send(200, path.read_bytes() if path.is_file() else {})

    def asked(self, question):
        operation = GRAPHQL.search(question["query"])[1]
        answer = getattr(wandb_answers, operation, getattr(wandb_pages, operation, None))
        with self.backend.lock:
            if answer is None:
                self.backend.unknown.append(operation)
                return 200, {"errors": [{"message": f"{operation} is not known"}], "data": None}
            try:
                return 200, {"data": answer(self.backend, question.get("variables") or {})}
            except wandb_answers.DeletedError as error:
                return 409, {"errors": [{"message": str(error)}], "data": None}
            except wandb_answers.TakenError as error:
                return 200, {"errors": [{"message": str(error)}], "data": None}
            except LookupError as error:  # the client would ask again, for ever
                self.backend.unknown.append(f"{operation}: {error!r}")
                return 200, {"errors": [{"message": f"{operation} lacks {error}"}], "data": None}

    def refused(self):
        if self.backend.mode == "silent":
            self.backend.released.wait()
        if self.backend.mode in ("silent", "404"):
            self.send(404, {"error": "there is nothing here"})
        return self.backend.mode in ("silent", "404")

    def body(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def send(self, code, answer):
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
