"""The config of a checkpoint: read as plain data, and built without running code that comes with the checkpoint."""

from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.activations import ACT2FN
from transformers.utils.hub import cached_file

from lcx_lightning.data.hub_access import look_for_hub, why_missing
from lcx_lightning.models.checkpoint_files import UNBUILDABLE, last_line
from lcx_lightning.models.config_checks import ADVICE
from lcx_lightning.models.config_rope import rope_in_one_place
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.schema.files import naming, read_json

WEIGHTS = (".safetensors", ".bin")
ADAPTER = "adapter_config.json"


def read_config(name: str, revision: str) -> PretrainedConfig:
    """Return the config of a checkpoint.

    Attention is that of transformers, whatever the file says: it could name code to be downloaded.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        revision: Branch, tag or commit.

    Raises:
        ValueError: If there is no such folder, its config.json is missing or senseless, the model needs code that comes
            with it, or it is an adapter.
    """
    said = _plain(name, revision)
    _refuse_adapter(name, revision)
    with naming(place_of(name)):
        _refuse_code(said, name)
        _refuse_weights(said, name)
        plain = rope_in_one_place(said)
        try:
            config = CONFIG_MAPPING[plain["model_type"]].from_dict(plain, name_or_path=name)
        except UNBUILDABLE as error:
            raise ValueError(f"It makes no sense to transformers: {last_line(error)}.") from error
    config._attn_implementation = config._experts_implementation = None  # chosen when the model is built
    return config


def place_of(name: str | None) -> str:
    """Return how messages name the config of a checkpoint; nothing for a model that comes from none."""
    return f"{name}/config.json" if name else ""


def number(values: dict[str, Any], key: str, least: float, *, whole: bool = False) -> float:
    """Return a number that a checkpoint says, as a float, or as an int if `whole`.

    Raises:
        ValueError: If it is missing, anything but a number (an interpolation, a mapping), not finite or below `least`.
    """
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise ValueError(f"{key} in the model's config must be a number of at least {least:g}, got {value!r}.")
    if whole and value != int(value):
        raise ValueError(f"{key} in the model's config must be a whole number, got {value!r}.")
    return int(value) if whole else float(value)


def _plain(name: str, revision: str) -> dict[str, Any]:
    """Return the content of config.json."""
    folder = Path(name)
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if (looks_like_a_path or folder.exists()) and not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ValueError(f"model.source.name={name} {what}: give the folder that holds config.json and the weights.")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"The folder {name} has no config.json: give the folder of a checkpoint.")
    if folder.is_dir() and not any(path.suffix in WEIGHTS for path in folder.iterdir()):
        raise ValueError(f"The folder {name} has no weights: no file that ends in {' or '.join(WEIGHTS)}.")
    path = folder / "config.json" if folder.is_dir() else _of_hub(name, revision)
    return read_json(path, ADVICE)


def _of_hub(name: str, revision: str) -> Path:
    """Return the config.json of a checkpoint of the hub, from the network or as it was downloaded before."""
    answers = look_for_hub()
    try:
        return Path(str(cached_file(name, "config.json", revision=revision)))
    except OSError as error:
        if answers:
            raise
        raise ValueError(
            f"{why_missing(name, error)}. Without a network: run `hf download {name} --local-dir DIR` where there is "
            "one, copy the folder to this machine, and add model.source.name=DIR."
        ) from error


def _refuse_code(plain: dict[str, Any], name: str) -> None:
    """Raise a ValueError if transformers has no code for the model, or for its activation."""
    kind, code = plain.get("model_type"), plain.get("auto_map")
    for key in ("hidden_act", "hidden_activation"):
        if plain.get(key) is not None and not (isinstance(plain[key], str) and plain[key] in ACT2FN):
            raise ValueError(f"{key} in the model's config must be an activation of transformers, got {plain[key]!r}.")
    if isinstance(kind, str) and kind in CONFIG_MAPPING:
        return
    why = "its config.json names Python code of its own (auto_map)" if code else "transformers does not know this type"
    raise ValueError(
        f"The model {name} has model_type={kind!r}, and {why}. Code that comes with a checkpoint is never run. Convert "
        f"the checkpoint to a supported type: {', '.join(FAMILIES)}."
    )


def _refuse_weights(plain: dict[str, Any], name: str) -> None:
    """Raise a ValueError if the weights are quantized, or have files of their own choice."""
    if plain.get("quantization_config") is not None:
        raise ValueError(
            f"The weights of {name} are quantized (quantization_config in its config.json), which is not supported. "
            "Take the unquantized checkpoint; if the weights are not quantized, remove the key."
        )
    if plain.get("transformers_weights") is not None:
        raise ValueError(
            f"The config.json of {name} names a weight file (transformers_weights), which is not supported. Call the "
            "file model.safetensors, and remove the key."
        )


def _refuse_adapter(name: str, revision: str) -> None:
    """Raise a ValueError if a checkpoint is an adapter: transformers would load another model under its name."""
    found = cached_file(
        name,
        ADAPTER,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if found is not None:
        raise ValueError(
            f"{name} holds an adapter ({ADAPTER}), which changes another model's weights. Merge it into its base first "
            "(peft: merge_and_unload, then save_pretrained), or take the file away."
        )
