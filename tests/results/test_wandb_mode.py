"""Whether W&B is logged to online: a decision that never hangs."""

import socket

import pytest
from support.wandb_server import KEY, wandb_server

from lcx_lightning.results import wandb_mode
from lcx_lightning.results.wandb_mode import choose_mode


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_without_a_key_the_mode_is_offline(no_account):
    assert choose_mode("auto") == "offline"


def test_a_key_and_a_server_that_answers_make_it_online(no_account, tmp_path):
    with wandb_server(tmp_path) as server:
        no_account.setenv("WANDB_BASE_URL", server.url)
        assert choose_mode("auto") == "offline"
        no_account.setenv("WANDB_API_KEY", KEY)
        assert choose_mode("auto") == "online"
        no_account.delenv("WANDB_API_KEY")
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1\nlogin user\npassword {KEY}\n")
        (tmp_path / "netrc").chmod(0o600)
        assert choose_mode("auto") == "online"


def test_a_server_that_cannot_be_reached_makes_it_offline_with_a_warning(no_account):
    no_account.setenv("WANDB_API_KEY", KEY)
    no_account.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    with pytest.warns(UserWarning, match=r"127\.0\.0\.1 does not answer .* logging offline"):
        assert choose_mode("auto") == "offline"


@pytest.mark.parametrize(("mode", "said"), [("404", "HTTP 404"), ("silent", "timed out")])
def test_a_server_that_answers_badly_or_not_at_all_makes_it_offline_with_a_warning(no_account, tmp_path, mode, said):
    no_account.setattr(wandb_mode, "PATIENCE", 0.2)
    no_account.setenv("WANDB_API_KEY", KEY)
    with wandb_server(tmp_path, mode) as server:
        no_account.setenv("WANDB_BASE_URL", server.url)
        with pytest.warns(UserWarning, match=rf"does not answer \({said}\): logging offline"):
            assert choose_mode("auto") == "offline"


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_mode_that_is_named_is_taken(no_account, mode):
    assert choose_mode(mode) == mode


def test_wandb_mode_decides_where_the_configuration_does_not(no_account):
    no_account.setenv("WANDB_MODE", "disabled")
    assert choose_mode("auto") == "disabled"
    assert choose_mode("online") == "online"


def test_an_unknown_mode_is_refused(no_account):
    with pytest.raises(ValueError, match="auto, online or offline, got 'on'"):
        choose_mode("on")
