"""Secrets are known by their names, and masked wherever a configuration is written."""

import json
import sys

import pytest
from support.lab import TINY, arms_of, folders, launch, save_documents

from lcx_lightning.runner.command import without_secrets_shown
from lcx_lightning.runner.run_json import write_run
from lcx_lightning.runner.secrets import as_typed, is_secret, masked, masked_words, secrets_in, without_secrets

TOKEN = "hf_AbCdEfGhIjKl"


@pytest.mark.parametrize(
    "name",
    [
        *("token", "hf_token", "password", "api_key", "client_secret", "use-auth-token", "TOKEN", "hfToken", "token_1"),
        *("hf_token_write", "passwords", "secrets", "private_key", "account_key", "pwd", "auth", "bearer", "cookie"),
        *("sas", "connection_string", "signature", "apiKey", "storage_options"),
    ],
)
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["tokens", "sink_tokens", "answer_tokens", "passkey", "key", "tokenizer", "author", "bos_token", "eos_token_id", 5],
)
def test_names_of_other_settings(name):
    assert not is_secret(name)


def test_secrets_are_masked_at_any_depth_and_nothing_else():
    config = {"load": {"token": TOKEN, "path": "x", "storage_options": {"key": "a", "secrets": ["b"]}}, "token": None}
    config |= {"list": [{"password": 1234567}, {"tokens": 5}], "use_auth_token": True, "url": "https://me:pw@host/x"}
    shown = masked(config)
    assert shown["load"] == {"token": "***", "path": "x", "storage_options": {"key": "***", "secrets": ["***"]}}
    assert shown["list"] == [{"password": "***"}, {"tokens": 5}]
    assert (shown["token"], shown["use_auth_token"], shown["url"]) == (None, True, "https://***@host/x")
    assert masked({"arms": [f"method=pi +data.hf_token={TOKEN}"]}) == {"arms": ["method=pi +data.hf_token=***"]}
    assert masked({"setup": [f"export HF_TOKEN={TOKEN}"]}) == {"setup": ["export HF_TOKEN=***"]}
    assert masked("https://host/x?sig=1&signature=abc&page=2") == "https://host/x?sig=1&signature=***&page=2"
    assert set(secrets_in(config)) == {TOKEN, "a", "b", "1234567"}
    assert without_secrets(f"Bad {TOKEN}!", {"token": TOKEN}) == "Bad ***!"


def test_neither_the_arguments_that_wandb_keeps_nor_a_traceback_have_them(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lcx", f"+data.hf_token={TOKEN}"])

    def fails():
        assert sys.argv == ["lcx", "+data.hf_token=***"]
        raise RuntimeError(f"token={TOKEN}")

    assert without_secrets_shown(fails) == 1
    said = capsys.readouterr().err
    assert "RuntimeError" in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (f"+data.corpus.load.token={TOKEN}", "+data.corpus.load.token=***"),
        (f"++data.corpus.load.hf_token='{TOKEN}'", "++data.corpus.load.hf_token=***"),
        (
            f"+data.corpus.load={{path: x, token: {TOKEN}, split: y}}",
            "+data.corpus.load=***",
        ),
        ("+load={path: x, token: ${oc.env:HF_TOKEN}}", "+load={path: x, token: ${oc.env:HF_TOKEN}}"),
        ("+load={path: x, token: ${oc.env:NOPE,hf_x}}", "+load=***"),
        ("+data.token=${oc.env:NOPE,hf_x}", "+data.token=***"),
        (r"+data.token='it\'s'", "+data.token=***"),
        (r"+data.token=ab\,cd", "+data.token=***"),
        ("+data.token=[s1,s2]", "+data.token=***"),
        ("+data.token={a: {b: s}}", "+data.token=***"),
        ("+x={a: {token: [s]}}", "+x=***"),
        ("+launch.parameters.slurm_setup=['export HF_TOKEN=hf_x']", "+launch.parameters.slurm_setup=***"),
        ("data.corpus.load.path=https://hf_x@host/a", "data.corpus.load.path=https://***@host/a"),
        ("data.corpus.load.path='https://host/a?token=hf_x'", "data.corpus.load.path=***"),
        (f"arms=['method=pi +data.token={TOKEN}']", "arms=***"),
        ("+x.storage_options={key: a, secret: b}", "+x.storage_options=***"),
        ("+data.corpus.load.token=${oc.env:HF_TOKEN}", "+data.corpus.load.token=${oc.env:HF_TOKEN}"),
        ("+data.corpus.load.token=null", "+data.corpus.load.token=null"),
        ("method.pattern.sink_tokens=4", "method.pattern.sink_tokens=4"),
        ("evaluation=passkey", "evaluation=passkey"),
    ],
)
def test_secrets_in_the_words_of_a_command_are_masked(word, shown):
    assert masked_words([word]) == [shown]


def test_a_secret_from_the_environment_stays_as_it_is_typed():
    typed = {"load": {"token": "${oc.env:HF_TOKEN}", "path": "${oc.env:HOME}"}}
    resolved = {"load": {"token": TOKEN, "path": "/home/me"}}
    kept = as_typed(resolved, typed)
    assert kept == masked(kept) == {"load": {"token": "${oc.env:HF_TOKEN}", "path": "/home/me"}}


def test_what_is_read_gets_the_secret_and_run_json_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    line = [*TINY, *folders(tmp_path)]
    (typed,) = arms_of(*line, "+model.source.architecture.hub_token=${oc.env:MY_TOKEN}")
    (given,) = arms_of(*line, f"+model.source.architecture.hub_token={TOKEN}")
    assert given.config["model"]["source"]["architecture"]["hub_token"] == TOKEN
    for arm in (typed, given):
        write_run(arm, "failed", reason=f"Refused: {TOKEN}" if arm is given else None)
        text = (arm.folder / "run.json").read_text()
        assert TOKEN not in text
        assert json.loads(text)["config"]["model"]["source"]["architecture"]["hub_token"] in (
            "***",
            "${oc.env:MY_TOKEN}",
        )


@pytest.mark.slow
def test_no_file_and_no_line_of_a_run_has_its_token(tmp_path):
    files = save_documents(tmp_path / "text")
    done = launch(*TINY, *files, *folders(tmp_path), f"+data.corpus.load.token={TOKEN}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"run.json", "experiment.json", "index.html", "records.jsonl"}
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
