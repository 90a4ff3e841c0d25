"""`lcx report --claims`: what is printed, and what is refused."""

import pytest
from support.experiment_files import nats

from experiments.report import main


def test_the_command_prints_claims_statements_and_verdicts_of_several_folders(tmp_path, capsys):
    nats(tmp_path / "x", range(3), {"pretrained": 2.0})
    nats(tmp_path / "y", range(3), {"lm_infinite": 2.0, "pretrained": 2.0})
    assert main(["--claims", "--markdown", str(tmp_path / "x"), str(tmp_path / "y")]) == 0
    text = capsys.readouterr().out
    assert text.count("| claim | statement | paper |") == 3
    assert "perplexity of pretrained (zero-shot) at 2L, over that of pretrained (zero-shot) at 1L: above 3" in text
    assert "not reproduced<br>1.11 \\[1.11, 1.11\\] at 2L<br>p \\< 0.001, 3 seeds, 3 documents" in text
    assert "Holm" in text


def test_the_command_refuses_files_of_claims_that_are_none(tmp_path, capsys):
    nats(tmp_path / "x", range(2), {"pretrained": 2.0})
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "mine.yaml").write_text("paper: mine\nnumbers: no.csv\nclaims: {}\n")
    assert main(["--claims", str(tmp_path / "x"), "--papers", str(tmp_path / "papers")]) == 2
    assert "mine.yaml" in capsys.readouterr().err


def test_a_folder_without_files_of_claims_is_refused(tmp_path, capsys):
    nats(tmp_path / "x", range(2), {"pretrained": 2.0})
    assert main(["--claims", str(tmp_path / "x"), "--papers", str(tmp_path / "none")]) == 2
    assert "none holds none" in capsys.readouterr().err


def test_several_folders_are_read_together_for_what_has_room_for_them_only(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), str(tmp_path)])
    assert stop.value.code == 2
    needed = "several folders are read together with -o report.html, --claims, --figures or --tables only"
    assert needed in capsys.readouterr().err
