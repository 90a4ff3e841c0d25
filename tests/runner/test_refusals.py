"""What the command line says about bad input: what is needed, what was given, what to do; and nothing trained."""

import json
import re

import pytest
from support.in_process import exit_code
from support.lab import TINY, TRAINING, folders, launch, save_checkpoint, save_documents

from lcx_lightning.methods.library import methods
from lcx_lightning.results import records


@pytest.mark.slow
def test_a_refusal_is_the_exit_code_of_the_process(tmp_path):
    done = launch("method=ntkk", *TINY, *folders(tmp_path))
    assert done.returncode == 2
    assert "ntkk" in done.stdout
    assert "lm_infinite" in done.stdout


OF_EMBEDDED = ("model.source.architecture", "model.source.tokenizer", "model.recipe")


@pytest.fixture
def refuse(tmp_path, monkeypatch, capfd):
    """A function: the overrides of a command that is refused -> what it says."""

    def run(*overrides):
        line = [*TINY, *folders(tmp_path), *map(str, overrides)]
        if "model=hub" in line:
            line = [word for word in line if not word.startswith(OF_EMBEDDED)]
        code = exit_code(line, monkeypatch)
        shown = capfd.readouterr()
        assert code == 2, shown
        assert "Traceback" not in shown.out + shown.err
        assert not list((tmp_path / "cache").glob("*/*"))
        return shown.out + shown.err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=slowre"], "Did you mean method=slower"),
        (["method=slower", "method.scaling.shar=1"], "Did you mean method.scaling.share"),
        (["exp=windows"], "write +exp=NAME, with a plus"),
        (["+exp=window"], "Did you mean +exp=windows"),
    ],
)
def test_files_of_ones_own_are_among_the_names_that_were_meant(refuse, tmp_path, words, said):
    for name, text in {
        "method/slower": "scaling: {_target_: mine.slower.Slower, share: 0.5}\n",
        "exp/windows": "# @package _global_\nexperiment: windows\n",
    }.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / f"{name}.yaml").write_text(text)
    assert said in " ".join(refuse("--config-dir", tmp_path / "mine", *words).split())


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("method=nothing", methods()),
        ("method=[pi,nothing]", methods()),
        ("+exp=nothing", ["quickstart", "ablate_lambda: Which part of LM-Infinite keeps perplexity flat?"]),
        ("model=nothing", ["embedded", "hub"]),
        ("data=nothing", ["stdlib", "hub"]),
        ("training=nothing", ["finetune", "none", "papers"]),
    ],
)
def test_an_unknown_choice_is_answered_with_what_there_is(refuse, given, known):
    said = refuse(given)
    assert "nothing" in said
    assert all(name in said for name in known)


def test_an_unknown_method_in_the_arms_is_answered_with_what_there_is(refuse):
    said = refuse("arms=['method=pretrained,nothing']")
    assert "nothing" in said
    assert "lm_infinite" in said


def test_two_methods_that_claim_one_part_are_refused_by_name(refuse):
    said = refuse("method=[pi,ntk]")
    assert "pi and ntk all set scaling. Leave all but one out" in said


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_a_model_family_without_rotary_embedding_is_refused_by_name(refuse, tmp_path, family):
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    name = save_checkpoint(tmp_path / family, family, **sizes)
    said = refuse("model=hub", f"model.source.name={name}", *save_documents(tmp_path / "data"))
    assert f"Models of type '{family}' are not supported" in said
    assert "they have no rotary embedding" in said
    assert "Supported: cohere, gemma, glm, gpt_neox, llama" in said


def test_a_checkpoint_that_does_not_exist_is_named(refuse, tmp_path):
    assert f"{tmp_path}/nowhere" in refuse("model=hub", f"model.source.name={tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("given", "needed"), [("model=hub", "model.source.name=VALUE"), ("data=hub", "data.corpus.load.path=VALUE")]
)
def test_a_value_that_only_the_user_knows_is_asked_for(refuse, given, needed):
    assert needed in refuse(given)


@pytest.mark.slow
def test_a_length_that_no_document_reaches_is_answered_with_how_long_they_are(refuse):
    said = refuse("evaluation.growing_context.multiples=[1,100000]")
    assert "6,400,000 tokens" in said
    assert "The longest is" in said
    assert "Ask for a shorter length" in said


@pytest.mark.parametrize("setting", ["results_dir", "cache_dir"])
def test_a_folder_that_cannot_be_written_is_named(refuse, tmp_path, setting):
    (tmp_path / "file").write_text("")
    said = refuse(f"{setting}={tmp_path / 'file' / 'below'}")
    assert f"{setting} must be a folder that can be written, but {tmp_path / 'file' / 'below'}" in said


def test_the_folder_of_another_experiment_is_left_alone(refuse, tmp_path):
    path = tmp_path / "results" / "mine" / "experiment.json"
    records.write_json(path, {"name": "older"})
    said = refuse("experiment=mine")
    assert "holds the records of experiment 'older', not of 'mine': move it away" in said
    assert json.loads(path.read_text()) == {"name": "older"}


@pytest.mark.parametrize("method", ["pi", "ntk", "yarn", "clex"])
def test_a_factor_below_1_is_refused(refuse, method):
    assert re.search(
        r"factor must be a (whole )?number of at least 1, got 0\.", refuse(f"method={method}", "factor=0.5")
    )


@pytest.mark.parametrize("method", ["clex", "clex_blocks"])
def test_training_beyond_the_largest_factor_is_refused(refuse, method):
    said = refuse(f"method={method}", "training=finetune", *TRAINING, "factor=2", "train_factor=4")
    assert "max_factor" in said


def test_an_evaluation_that_no_length_of_fits_is_refused(refuse):
    said = refuse("method=clex", "factor=1", "evaluation.growing_context.multiples=[2,4]")
    assert "clex reaches 64 tokens, but the shortest evaluated length is 128: raise factor" in said


def test_a_method_that_changes_nothing_is_refused_alone(refuse):
    assert "pi would not change the model" in refuse("method=pi", "factor=1")


def test_a_window_no_shorter_than_every_length_is_refused(refuse):
    said = refuse("method=lm_infinite", "evaluation.growing_context.multiples=[1]")
    assert "lm_infinite would not change the model" in said
    assert "a window no shorter than every length" in said


def test_a_learned_method_within_the_pretraining_length_is_refused_without_training(refuse):
    assert "clex would not change the model" in refuse(
        "method=clex", "factor=4", "evaluation.growing_context.multiples=[1]"
    )


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        (
            "dry_run=fingerprints",
            "forecast, data or null, got 'fingerprints'. Did you mean fingerprint?",
        ),
        ("method.scaling._target_=os.system", "_target_: os.system is not a public name of lcx_lightning"),
        ("model.recipe.optimizer._target_=torch.optim.SGD", "_target_: torch.optim.SGD is not a public name"),
        ("dry_run=true", "dry_run must be fingerprint, forecast, data or null, got true"),
        ("nonfinite=ignore", "nonfinite must be stop or skip, got 'ignore'"),
        ("model.recipe.schedule.warmup=5", "A schedule of 4 steps needs room for"),
        ("model.recipe.steps=0", "model.recipe.steps must be a whole number of at least 1, got 0"),
        ("model.recipe.optimizer.lr=-1", "model.recipe.optimizer.lr must be a number of at least 0, got -1"),
        ("model.source.architecture.max_position_embeddings=32", "Synthetic rows need 64 tokens"),
        ("evaluation.growing_context.windows=0", "windows must be a whole number of at least 1, got 0"),
        ("evaluation.growing_context.last=64", "must hold the 64 tokens that are scored"),
        ("training.steps=3", "training.steps=3 would change nothing: no arm is trained. Add training=finetune"),
        ("seeds=0", "seeds must be a whole number of at least 1, got 0"),
        ("jobs=none", "jobs must be a whole number of at least 1, got 'none'"),
        ("jobs=1.5", "jobs must be a whole number of at least 1, got 1.5"),
        ("seed=-1", "seed must be a whole number of at least 0, got -1"),
        ("pretrain_length=0", "pretrain_length must be a whole number of at least 1, got 0"),
        ("factor=two", "factor must be a number above 0, got 'two'"),
        ("factor=nan", "factor must be a number above 0, got nan"),
        ("train_factor=inf", "train_factor must be a number above 0, got inf"),
        ("recompute=maybe", "recompute must be true or false, got 'maybe'"),
        ("model.recipe.optimizer.lr=nan", "model.recipe.optimizer.lr must be a number of at least 0, got nan"),
        (
            "+evaluation.growing_context.multiples=[1,inf]",
            "multiples must be a list, not empty, of numbers above 0",
        ),
        ("experiment=../../x", "experiment is the name of a folder in results_dir"),
        ("experiment=/abs", "experiment is the name of a folder in results_dir"),
        ("experiment=..", "experiment is the name of a folder in results_dir"),
        ("experiment=a/b", "experiment is the name of a folder in results_dir"),
        ("experiment=''", "experiment is the name of a folder in results_dir"),
        ("in_loop.batches=3", "in_loop.batches=3 would change nothing: no arm is trained"),
        ("arms=pi", "arms must be a list"),
        ("look_for=curves", "look_for must be a list"),
        ("checkpoint_seconds=0", "checkpoint_seconds must be a number above 0, got 0"),
        ("data.mixture.copy=0.5", "scale the shares"),
        ("no_such_key=1", "no_such_key"),
        ("logger.mode=on", "logger"),
        ("attention=fast", "attention must be auto, dense, flash_bands, blocks or flex_bands, got 'fast'"),
    ],
)
def test_settings_that_cannot_run_are_refused_before_anything_is_trained(refuse, given, needed):
    assert needed in refuse(given)


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ([], "add trainer.devices=VALUE"),
        (["trainer.devices=4096", "model.recipe.rows=4096"], "4096 processes need as many cores"),
        (["trainer.devices=0"], "trainer.devices must be a whole number of at least 1, got 0"),
        (["trainer.devices=auto"], "trainer.devices must be a whole number of at least 1, got 'auto'"),
        (["trainer.devices=4"], "2 rows were given to 4 ranks with 1 micro-batches each"),
        (["trainer.devices=1", "trainer.accumulate_grad_batches=3"], "1 ranks with 3 micro-batches each"),
    ],
)
def test_processes_that_cannot_share_a_batch_are_refused_before_anything_starts(refuse, given, needed):
    assert needed in refuse("trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true", *given)


def test_an_implementation_of_attention_that_cannot_run_an_arm_is_refused_with_those_that_can(refuse):
    said = refuse("attention=dense", "arms=['method=pretrained,lm_infinite']")
    assert "Lambda cannot be computed by dense" in said
    assert "attention=auto, flash_bands, blocks" in said


def test_a_schedule_that_does_not_fit_is_found_in_the_last_arm_of_a_grid(refuse):
    arms = "arms=['method=pretrained,lm_infinite','method=pi training=finetune']"
    assert "A schedule of 2 steps needs room for" in refuse(arms, "training.steps=2")
