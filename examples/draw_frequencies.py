"""Draw the frequencies of all methods beyond pretraining: `python examples/draw_frequencies.py frequencies.svg`."""

import sys

import altair as alt
import torch

import lcx_lightning as lcx
from lcx_lightning.methods import build_method, read_method
from lcx_lightning.methods.overrides import open_values, with_values
from lcx_lightning.scaling import RopeSpec

LLAMA2 = RopeSpec(dim=128, base=10_000.0, pretrain_length=4096)
FACTORS = {"factor": 4, "train_factor": 1}


def frequencies(name: str) -> list[float]:
    """Return the frequency of each rotary pair over that of pretraining, in a text of 4 L tokens."""
    config = read_method(name)
    config = with_values(config, LLAMA2.pretrain_length, {k: FACTORS[k] for k in open_values(config)})
    method = build_method(config, LLAMA2).eval()
    factor = method.positions.evaluation_factor(torch.tensor([4 * LLAMA2.pretrain_length]), LLAMA2.pretrain_length)
    return (method.scaling(factor.float())[0] / LLAMA2.inv_freq()).tolist()


def main(path: str = "frequencies.svg") -> None:
    """Write the figure: one line for each method whose frequencies differ from those before it."""
    curves: dict[tuple[float, ...], str] = {}
    for name in ["pretrained", *lcx.methods()]:
        curves.setdefault(tuple(round(ratio, 4) for ratio in frequencies(name)), name)
    rows = [{"pair": i, "ratio": y, "method": name} for ratios, name in curves.items() for i, y in enumerate(ratios)]
    chart = alt.Chart(alt.Data(values=rows)).mark_line()
    ratio = alt.Y("ratio:Q", title="frequency / pretrained").scale(type="log")
    chart.encode(x=alt.X("pair:Q", title="rotary pair"), y=ratio, color="method:N").save(path)


if __name__ == "__main__":
    main(*sys.argv[1:2])
