"""The page while a grid runs, and for a team on one host."""

import http.client
from pathlib import Path
from threading import Thread

import pytest
from support.experiment_files import write_run

from experiments.report import main
from lcx_lightning.results.report.dashboard.serving import address_of, seen_at, server, watch


@pytest.fixture
def served(tmp_path):
    """A server of one file, and its port."""
    (tmp_path / "report.html").write_text("the page")
    (tmp_path / "secret.json").write_text("a secret")
    with server(tmp_path / "report.html", ("127.0.0.1", 0)) as found:
        thread = Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found.server_address[1]
        found.shutdown()


def answer(port, method, path, **headers):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    link.request(method, path, headers=headers)
    found = link.getresponse()
    return found.status, found.read().decode()


def test_the_page_is_served_and_no_other_file(served):
    assert answer(served, "GET", "/") == (200, "the page")
    assert answer(served, "HEAD", "/report.html") == (200, "")
    assert answer(served, "GET", "/secret.json")[0] == 404
    assert answer(served, "GET", "/../secret.json")[0] == 404


def test_what_would_change_something_is_refused(served):
    assert answer(served, "POST", "/")[0] == 501
    assert answer(served, "PUT", "/report.html")[0] == 501


def test_a_name_of_another_host_is_refused(served):
    assert answer(served, "GET", "/", Host="evil.example:80")[0] == 403


def test_only_this_machine_is_served_unless_a_host_is_given():
    assert address_of("8000") == ("127.0.0.1", 8000)
    assert address_of("0.0.0.0:8000") == ("0.0.0.0", 8000)


@pytest.mark.parametrize("text", ["", "host", "host:", "99999", "-1"])
def test_what_is_no_port_is_refused(text):
    with pytest.raises(ValueError, match="needs a port"):
        address_of(text)


def test_the_page_is_made_again_when_results_change_and_not_before(tmp_path):
    write_run(tmp_path, "pi")
    made, said, looks = [], [], iter(["same", "new run", "same", "damaged", "end"])

    def wait():
        look = next(looks)
        if look == "new run":
            write_run(tmp_path, "yarn")
        if look == "damaged":
            (tmp_path / "yarn-0" / "run.json").write_text("{}")
        return look != "end"

    def make():
        if made:
            raise ValueError("yarn-0 is damaged")
        made.append(seen_at([tmp_path]))
        return Path("report.html")

    watch([tmp_path], make, said.append, wait)
    assert len(made) == 1
    assert said[0].startswith("report.html at ")
    assert said[1:] == ["not made again: yarn-0 is damaged"]


def test_watching_needs_a_file_for_the_page(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--watch"])
    assert "add -o report.html" in capsys.readouterr().err
