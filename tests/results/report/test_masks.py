"""The drawings of patterns on the page: one for each distinct pattern, by the pattern that a run has recorded."""

import re

import pytest
from support.experiment_files import write_run

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.report.dashboard.masks import Mask, drawings, masks_table
from lcx_lightning.runner.recorded_masks import masks_of

LAMBDA = {"_target_": "lcx_lightning.patterns.Lambda", "window": 64, "sink_tokens": 4, "distance_limit": 128}
CAUSAL = {"_target_": "lcx_lightning.patterns.Causal"}
FOREIGN = {"_target_": "os.system", "command": "false"}
INSIDE = LAMBDA | {"window": {"_target_": "lcx_lightning.models.HubModel", "name": "x"}}
OF_ANOTHER_VERSION = LAMBDA | {"width": 3}


@pytest.fixture
def results(tmp_path):
    """Arms of three patterns that are ours, of which two are the same, and some that are not."""
    patterns = [CAUSAL, LAMBDA, LAMBDA, LAMBDA | {"window": 8}, FOREIGN, INSIDE, OF_ANOTHER_VERSION, None]
    for order, pattern in enumerate(patterns):
        config = {"method": {"pattern": pattern}, "number": order}
        write_run(tmp_path / "x", f"arm{order}", order=order, config=config)
    return tmp_path / "x"


def test_each_distinct_pattern_of_ours_is_drawn_once(results):
    found = masks_of(records.read_experiment(results)).masks
    assert [(mask.pattern, mask.arms) for mask in found] == [
        ("Causal", ["arm0"]),
        ("Lambda, window 64, sink tokens 4, distance limit 128", ["arm1", "arm2"]),
        ("Lambda, window 8, sink tokens 4, distance limit 128", ["arm3"]),
    ]
    assert [(mask.tokens, mask.pretrain_length, mask.seen) for mask in found] == [
        (512, 128, 512), (512, 128, 68), (512, 128, 12),
    ]  # fmt: skip


def test_patterns_are_one_whatever_the_order_of_their_values_and_many_are_counted(tmp_path):
    patterns = [{"_target_": LAMBDA["_target_"], "sink_tokens": 4, "window": 2, "distance_limit": 128}]
    patterns += [LAMBDA | {"window": 2 + n} for n in range(40)]
    for order, pattern in enumerate(patterns):
        write_run(tmp_path / "x", f"arm{order}", order=order, config={"method": {"pattern": pattern}, "number": order})
    found = masks_of(records.read_experiment(tmp_path / "x"))
    assert (found.masks[0].arms, len(found.masks), found.left_out) == (["arm0", "arm1"], 36, 4)
    page = tmp_path / "report.html"
    assert main([str(tmp_path / "x"), "-o", str(page)]) == 0
    assert "first 36 distinct patterns are drawn; 4 more are left out" in " ".join(page.read_text().split())


def test_a_file_of_a_colleague_runs_no_code(tmp_path):
    foreign = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    for order, pattern in enumerate((foreign, LAMBDA | {"window": foreign})):
        write_run(tmp_path / "x", f"arm{order}", order=order, config={"method": {"pattern": pattern}})
    assert masks_of(records.read_experiment(tmp_path / "x")) == ([], 0)
    assert not (tmp_path / "made").exists()


def test_the_page_has_the_drawings_and_says_them_in_words_and_in_a_table(results, tmp_path):
    page = tmp_path / "report.html"
    assert main([str(results), "-o", str(page)]) == 0
    text = page.read_text().partition('id="patterns"')[2].partition("</section>")[0]
    assert len(re.findall('<svg [^>]*role="img"', text)) == 3
    assert 'data-arms="1 2"' in text
    assert "Lambda, window 8, sink tokens 4, distance limit 128. Of 512 tokens (4L) the last sees 12" in text
    assert "<td>arm1, arm2</td><td>128</td><td>512</td><td>68</td><td>128</td>" in text


def test_cells_of_one_kind_in_a_row_are_one_rectangle():
    mask = Mask("p", ["a"], 8, 4, [[0, -1, -1], [1, 0, -1], [16, 0, 0]], [False, False, True], 1, 3)
    (found,) = drawings([mask], {"a": 5})
    assert found["paths"] == {
        "shade0": "M0 0h1v1h-1zM1 1h1v1h-1zM1 2h1v1h-1z", "shade1": "M0 1h1v1h-1z",
        "beyond": "M0 2h1v1h-1z", "selected": "M2 2h1v1h-1z",
    }  # fmt: skip
    assert found["arms"] == [{"name": "a", "number": 5}]
    assert masks_table([mask]).rows[0][4].text == "3, and those it selects"
