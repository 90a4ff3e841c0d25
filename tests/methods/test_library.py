"""The method files: each builds, some compose, and what cannot be meant is refused by name."""

import math

import pytest
import torch
from omegaconf import OmegaConf

from lcx_lightning.methods.library import METHODS, PARTS, build_method, complete, methods, read_method
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.patterns.base import Pattern
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.positions.base import PositionScheme
from lcx_lightning.methods.scaling.base import FrequencyScaling
from lcx_lightning.methods.scaling.clex import CLEX
from lcx_lightning.methods.temperature.base import Temperature


def plain(config):
    return OmegaConf.to_container(config, resolve=False)


def test_every_method_file_builds_four_parts(build, spec, any_method):
    method = build(any_method, spec)
    assert isinstance(method, Method)
    kinds = (FrequencyScaling, PositionScheme, Temperature, Pattern)
    for part, kind in zip(PARTS, kinds, strict=True):
        assert isinstance(getattr(method, part), kind)
    assert method.scaling.spec == spec


def test_every_method_gives_one_rope_for_equal_rows_and_one_row_for_each_otherwise(build, spec, any_method):
    method = build(any_method, spec).eval()
    equal = method.rope(torch.ones(1, 50, dtype=torch.bool), 50)
    assert equal.key_index.shape == equal.key_pos.shape == (1, 50)
    assert not equal.padded
    lengths = torch.tensor([[50], [33], [20]])
    mixed = method.rope(torch.arange(50) < lengths, 10)
    assert mixed.key_index.shape == mixed.key_pos.shape == (3, 50)
    assert mixed.query_index.shape == (3, 10)
    assert mixed.padded
    assert mixed.query_index[:, -1].tolist() == [49, 32, 19]


def test_every_method_file_opens_with_a_line_that_says_what_it_is(any_method):
    assert (METHODS / f"{any_method}.yaml").read_text().startswith("# ")


def test_the_value_of_every_setting_of_a_method_is_in_its_file(any_method):
    written = OmegaConf.to_yaml(read_method(any_method))
    assert "???" not in written
    assert set(read_method(any_method)) == set(PARTS)


def test_a_method_keeps_what_it_does_not_set_as_in_pretraining():
    pretrained, pi = plain(read_method("pretrained")), plain(read_method("pi"))
    assert {part for part in PARTS if pi[part] != pretrained[part]} == {"scaling", "positions"}


def test_a_method_file_may_stand_on_another():
    whole, lambda_only = plain(read_method("lm_infinite")), plain(read_method("lambda_only"))
    assert lambda_only["pattern"] == whole["pattern"] | {"distance_limit": None}
    assert whole["pattern"]["distance_limit"] is not None


def test_clex_composes_with_lm_infinite_in_either_order(build, spec):
    method = build(["clex", "lm_infinite"], spec)
    assert isinstance(method.scaling, CLEX)
    assert isinstance(method.pattern, Lambda)
    assert read_method(["clex", "lm_infinite"]) == read_method(["lm_infinite", "clex"])


def test_a_list_of_one_is_that_method(any_method):
    assert read_method([any_method]) == read_method(any_method)


def test_methods_that_set_different_parts_compose_and_others_are_refused_by_name():
    assert read_method(["dynamic_ntk", "limit_only"])
    with pytest.raises(ValueError, match="pi and yarn all set scaling"):
        read_method(["pi", "yarn"])
    with pytest.raises(ValueError, match="clex and clex_blocks all set positions"):
        read_method(["clex", "lm_infinite", "clex_blocks"])
    with pytest.raises(ValueError, match="lm_infinite and lambda_only all set pattern"):
        read_method(["lm_infinite", "lambda_only"])


def test_methods_that_set_one_part_alike_compose():
    assert read_method(["pi", "pi"]) == read_method("pi")


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ValueError, match=f"no method 'yarm'.*{', '.join(methods())}"):
        read_method("yarm")


def test_no_method_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one method"):
        read_method([])


def test_complete_adds_the_parts_of_pretraining_and_refuses_others():
    whole = complete(OmegaConf.create({"pattern": {"_target_": "x.Y"}}))
    assert list(whole) == list(PARTS)
    assert plain(whole) == plain(read_method("pretrained")) | {"pattern": {"_target_": "x.Y"}}
    with pytest.raises(ValueError, match="the parts scaling, positions, temperature, pattern, got patern, scale"):
        complete(OmegaConf.create({"scale": {}, "patern": {}}))


def test_the_arms_of_clex_differ_from_it_in_what_their_name_says():
    clex = plain(read_method("clex"))
    assert plain(read_method("clex_blocks"))["scaling"] == clex["scaling"]
    frozen = plain(read_method("clex_frozen"))
    assert frozen == plain(read_method("clex_blocks")) | {"scaling": clex["scaling"] | {"trainable": False}}
    assert plain(read_method("clex_consecutive")) == clex | {"positions": clex["positions"] | {"spread": "consecutive"}}
    discrete = plain(read_method("clex_discrete"))
    assert discrete == clex | {"scaling": plain(read_method("yarn"))["scaling"]}


def test_a_context_beyond_the_reach_of_a_pattern_is_refused(build, spec):
    method = build("self_extend", spec).eval()
    assert method.max_context(32) == method.pattern.max_context(32) == (32 - 8) * 9 + 8 == 224
    method.rope(torch.ones(1, 224, dtype=torch.bool), 1)
    with pytest.raises(ValueError, match="SelfExtend reaches 224 tokens, but the context has 225"):
        method.rope(torch.ones(1, 225, dtype=torch.bool), 1)


def test_a_method_reaches_as_far_as_positions_and_pattern_both_do(build, spec):
    assert build("lm_infinite", spec).max_context(32) is None
    assert build("clex", spec).max_context(32) == build(["clex", "lm_infinite"], spec).max_context(32) == 128
    method = build("clex_self_extend", spec)
    method.pattern.group = 2
    assert method.max_context(32) == (32 - 8) * 2 + 8


def test_the_sizes_of_short_windows_are_those_of_their_sources(build, spec):
    """1024 of Llama-2's 4096 tokens in ReRoPE's results and Self-Extend's; 4 sinks in a cache of L tokens."""
    assert build("rerope", spec).pattern.distance_limit == 8
    assert (build("self_extend", spec).pattern.window, build("self_extend", spec).pattern.group) == (8, 9)
    assert (build("leaky_rerope", spec).pattern.window, build("leaky_rerope", spec).pattern.slowdown) == (8, 5)
    assert (build("streaming_llm", spec).pattern.window, build("streaming_llm", spec).pattern.sink_tokens) == (28, 4)
    assert build("lm_infinite_top_k", spec).pattern.middle_distance == 16


@pytest.mark.parametrize("name", ["rerope", "leaky_rerope"])
def test_rerope_is_the_released_code_and_its_other_variant_says_so(build, spec, name):
    """The code multiplies query q by max(1, ln(q + 1) / ln(L)), whose place is the position plus one."""
    released, without = (build(n, spec) for n in (name, f"{name}_without_log_n"))
    assert read_method([name, "log_n"]) == read_method(name)
    assert plain(read_method(name)) | {"temperature": None} == plain(read_method(f"{name}_without_log_n")) | {
        "temperature": None
    }
    valid = torch.ones(1, 100, dtype=torch.bool)
    expected = [max(1.0, math.log(q + 1) / math.log(32)) for q in range(100)]
    torch.testing.assert_close(released.rope(valid, 100).logit_scale[0], torch.tensor(expected))
    assert without.rope(valid, 100).logit_scale is None


def test_sizes_come_from_the_experiment(build, spec):
    assert build("pi", spec).positions.factor == 4
    assert build("lm_infinite", spec).pattern.window == spec.pretrain_length


def test_the_methods_of_the_papers_are_there():
    assert {"pretrained", "pi", "ntk", "dynamic_ntk", "yarn", "clex", "clex_blocks", "lm_infinite"} <= set(methods())
    assert {"ntk_by_parts", "dynamic_yarn", "llama3", "longrope", "abf", "pose", "random_positions"} <= set(methods())


@pytest.mark.parametrize("parts", [("clex", "lm_infinite"), ("yarn", "lm_infinite"), ("pi", "lm_infinite")])
def test_a_hybrid_file_is_the_list_of_its_methods(parts):
    assert read_method("_".join(parts)) == read_method(parts)


@pytest.mark.parametrize("name", ["pose", "random_positions"])
def test_methods_that_change_training_only_are_position_interpolation_in_evaluation(build, spec, name):
    ropes = [build(method, spec).eval().rope(torch.ones(1, 100, dtype=torch.bool), 100) for method in (name, "pi")]
    assert torch.equal(ropes[0].inv_freq, ropes[1].inv_freq)
    assert torch.equal(ropes[0].key_pos, ropes[1].key_pos)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- a\n", r"it must hold a mapping, got \['a'\]"),
        ("only words\n", "it must hold a mapping, got 'only words'"),
        ("patern: {}\n", "It may set scaling, .*, got patern"),
        ("pattern: [\n", "no YAML in line 2, column 1"),
        ("defaults: [mine]\n", "lead back to .*mine.yaml"),
        ("defaults: [other]\n", "lead back to .*mine.yaml"),
        ("defaults: yarn\n", "mine.yaml: defaults must be a list of methods, got 'yarn'"),
        ("defaults: [{pattern: x}]\n", "must be a list of methods"),
        ("pattern: 5\n", "pattern must be a mapping with _target_, got 5"),
        ("pattern:\n", "pattern must be a mapping with _target_, got null"),
    ],
)
def test_a_file_that_is_no_method_is_refused_with_its_path(tmp_path, text, complaint):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    (tmp_path / "other.yaml").write_text("defaults: [mine]\n")
    with pytest.raises(ValueError, match=complaint) as raised:
        read_method(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ({"_target_": "lcx_lightning.temperature.Constant"}, "pattern must be a Pattern, got _target_: lcx_lightning"),
        ({"window": 4}, "pattern must be a mapping with the name of a class in _target_"),
        (
            {"_target_": "lcx_lightning.patterns.Capped", "wnd": 3},
            "pattern has no 'wnd'. There are distance_limit",
        ),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused_when_it_is_built(spec, pattern, complaint):
    method = read_method("pretrained")
    method.pattern = pattern
    with pytest.raises(ValueError, match=complaint):
        build_method(method, spec)


def test_a_path_need_not_be_a_text_and_what_is_no_name_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("defaults: [yarn]\n")
    assert read_method(path) == read_method([path]) == read_method("yarn")
    for names in (None, 4, ["yarn", None], {"yarn": 1}):
        with pytest.raises(ValueError, match=r"A method is a name.*got"):
            read_method(names)
