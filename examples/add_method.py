"""Add a scaling of one's own and compose it with a pattern of the package: `python examples/add_method.py`."""

import torch
from attach_and_generate import load

import lcx_lightning as lcx
from lcx_lightning.methods import Method
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.patterns import Lambda
from lcx_lightning.positions import FixedFactor
from lcx_lightning.scaling import FrequencyScaling
from lcx_lightning.temperature import Constant


class Slower(FrequencyScaling):
    """Turn the slow half of the pairs s times slower."""

    def inv_freq(self, factor: torch.Tensor) -> torch.Tensor:
        kept = self.spec.inv_freq().to(factor.device).repeat(len(factor), 1)
        kept[:, kept.shape[1] // 2 :] /= factor[:, None]
        return kept


def main() -> torch.Tensor:
    """Print how the logits of a text twice as long as pretraining move, and return them with the method."""
    model, ids = load(None), torch.arange(1, 129)[None]
    before = model(ids).logits
    pattern = Lambda(window=64, sink_tokens=4, distance_limit=64)
    scaling = Slower(rope_spec(model.config))
    method = Method(scaling=scaling, positions=FixedFactor(factor=2), temperature=Constant(), pattern=pattern)
    after = lcx.attach(model, method)(ids).logits
    print(f"largest difference of a logit: {(after - before).abs().max():.2g}")
    return after


if __name__ == "__main__":
    main()
