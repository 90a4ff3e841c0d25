"""The terminal: what cannot be shown there ends nothing."""

import io
import os
import subprocess
import sys

import pytest
from rich.progress import Progress
from support.experiment_files import write_run
from support.lab import ROOT, environment

from lcx_lightning.results.report.screen import Output, say, screen, size_text
from lcx_lightning.runner.launch.progress import add_job, display_of, show_event
from lcx_lightning.runner.launch.scheduler import Job, show_end

NAMES = ["[red]pi[/]", "pi [/b]", "[link=x]", "a\\[b]", "\N{GREATER-THAN OR EQUAL TO}\N{PLUS-MINUS SIGN}"]


@pytest.mark.parametrize("name", NAMES)
def test_brackets_are_no_markup(name, capsys):
    console = screen()
    say(console, name, f"{name}:", "red")
    console.rule(name)
    with display_of(console) as display:
        assert isinstance(display, Progress)
        show_event(display, add_job(display, name), (name, 1, 2, name))
        display.refresh()
        show_end(Job(name, None, only_base=False, state="failed", error=name), display)  # pyright: ignore
    shown = capsys.readouterr().out
    assert shown.count(name) >= 4


def test_an_ascii_terminal_shows_a_question_mark(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    say(screen(), "\N{GREATER-THAN OR EQUAL TO}4L ±0.1")
    assert written.getvalue().strip() == b"?4L ?0.1"


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "Input/output error"), ValueError("closed file")])
def test_a_reader_that_has_left_ends_nothing(error, monkeypatch):
    class Left(io.StringIO):
        def write(self, *_):
            raise error

        flush = write

    monkeypatch.setattr(sys, "stdout", Left())
    console = screen()
    say(console, "text")
    console.print("more")
    Output(Left()).flush()


def test_no_standard_output_at_all_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    say(screen(), "text")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["{} >&-", "{} | true", "PYTHONIOENCODING=ascii {}", "LC_ALL=C PYTHONUTF8=0 {}"])
def test_a_report_is_written_whoever_reads_its_table(form, tmp_path):
    write_run(tmp_path, "[b]pi[/]")
    line = form.format(f"{sys.executable} -m experiments.report {tmp_path}")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "rror" not in done.stderr
    assert (tmp_path / "index.html").exists()
    assert os.path.getsize(tmp_path / "index.html") > 1000


@pytest.mark.parametrize(
    ("count", "said"), [(0, "-"), (9, "9 B"), (2048, "2 KiB"), (3 * 2**20, "3 MiB"), (1.5 * 2**30, "1.5 GiB")]
)
def test_bytes_are_told_with_their_unit(count, said):
    assert size_text(count) == said
