"""A context-extension method: scaling x positions x temperature x pattern."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lcx_lightning.methods.packing import Packed, Span, spans_of
from lcx_lightning.methods.patterns.base import Pattern
from lcx_lightning.methods.positions.base import PositionScheme
from lcx_lightning.methods.rope import Rope, places
from lcx_lightning.methods.scaling.base import FrequencyScaling
from lcx_lightning.methods.temperature.base import Temperature


class Method(nn.Module):
    """Decide, for every forward pass, how positions are read.

    Args:
        scaling: Turns the scale factor into frequencies.
        positions: Chooses the scale factor and the positions.
        temperature: Scales the logits.
        pattern: Chooses which keys each query sees.
    """

    def __init__(
        self, *, scaling: FrequencyScaling, positions: PositionScheme, temperature: Temperature, pattern: Pattern
    ) -> None:
        super().__init__()
        self.scaling, self.positions, self.temperature, self.pattern = scaling, positions, temperature, pattern

    def rope(
        self,
        valid: Bool[Tensor, "rows keys"],
        queries: int,
        placement_seed: int | None = None,
        to_come: int = 0,
        index: Int[Tensor, "rows keys"] | None = None,
        rotated: bool = False,
        visible_keys: Int[Tensor, " visible"] | None = None,
        local_tokens: slice | None = None,
    ) -> Rope:
        """Return the positions of one forward pass.

        Args:
            valid: False on padding, which may stand on either side; one row serves a batch of equal rows. Every row
                has its own length, and so its own factor and frequencies.
            queries: The queries are the last so many tokens.
            placement_seed: Seed of a training placement; None places as in evaluation.
            to_come: Tokens that every row is still to be given: its factor is that of its length with them.
            index: Place of each key in its text, where a cache holds some of them only. None: no key is missing.
            rotated: Whether the keys come from a cache that holds them rotated to their places.
            visible_keys: Indices of the keys that a rank has, where several share the texts. None: all.
            local_tokens: Tokens that are the queries of such a rank, in the place of the last so many. None: `queries`.

        Raises:
            ValueError: If the method is in training and samples positions, but was given no placement_seed, or the
                context is longer than the method reaches.
        """
        self._check_placement_seed(placement_seed)
        spec = self.scaling.spec
        if index is None:
            index = places(valid)
        lengths = index.amax(dim=-1) + 1
        self._check_context(lengths + to_come)
        factor, positions = self._placed(index, lengths + to_come, placement_seed)
        bands, query_index = self.pattern.bands(), index[:, -queries:]
        visible = torch.stack([band.keys_seen(query_index) for band in bands]).sum(dim=0)
        logit_scale = self.temperature.logit_scale(visible, spec.pretrain_length)
        if visible_keys is not None:
            index, positions, valid = (x[:, visible_keys] for x in (index, positions, valid))
        if local_tokens is not None:
            logit_scale = None if logit_scale is None else logit_scale[:, local_tokens]
            queries = local_tokens.stop - local_tokens.start
        return Rope(
            index=index,
            positions=positions,
            valid=valid,
            queries=queries,
            inv_freq=self.scaling(factor.float()),
            feature_scale=spec.feature_scale * self.temperature.feature_scale(factor),
            logit_scale=logit_scale,
            bands=bands,
            selection=self.pattern.selection(),
            rotated=rotated,
        )

    def packed(self, segments: Int[Tensor, "rows tokens"], restart: bool, placement_seed: int | None = None) -> Packed:
        """Return the positions of one pass over rows of several documents, none of which sees another.

        Args:
            segments: Of each token; a document ends where it changes.
            restart: Whether each document is placed as if it stood alone, with the factor of its own length. Else the
                row is placed, and a document keeps its part of the positions and the factor of the row.
            placement_seed: Seed of a training placement, as for `rope`.

        Raises:
            ValueError: As `rope` does.
        """
        self._check_placement_seed(placement_seed)
        spans, length, tokens = spans_of(segments), self.scaling.spec.pretrain_length, segments.shape[1]
        sizes = torch.tensor([[span.stop - span.start] for span in spans], device=segments.device)
        self._check_context(sizes[:, 0])
        placed = [self.positions.place(n if restart else n.new_tensor([tokens]), length, placement_seed) for n in sizes]
        factors, own = torch.cat([place.factor for place in placed]).unique(return_inverse=True)
        inv_freq = self.scaling(factors.float())  # once, as every rank does
        ropes = [
            self._document(span, place.positions[:, 0 if restart else span.start :], factors[i : i + 1], inv_freq[i])
            for span, place, i in zip(spans, placed, own.tolist(), strict=True)
        ]
        return Packed(spans, ropes, tokens)

    def _document(
        self,
        span: Span,
        positions: Float[Tensor, "one tokens"],
        factor: Float[Tensor, " one"],
        inv_freq: Float[Tensor, " pairs"],
    ) -> Rope:
        """Return the `Rope` of one document, of all rows that it stands in."""
        index = torch.arange(span.stop - span.start, device=positions.device)[None]
        bands, spec = self.pattern.bands(), self.scaling.spec
        visible = torch.stack([band.keys_seen(index) for band in bands]).sum(dim=0)
        return Rope(
            index=index,
            positions=positions[:, : index.shape[1]].double(),
            valid=torch.ones_like(index, dtype=torch.bool),
            queries=index.shape[1],
            inv_freq=inv_freq[None],
            feature_scale=spec.feature_scale * self.temperature.feature_scale(factor),
            logit_scale=self.temperature.logit_scale(visible, spec.pretrain_length),
            bands=bands,
            selection=self.pattern.selection(),
        )

    def _check_placement_seed(self, placement_seed: int | None) -> None:
        if placement_seed is None and self.training and self.positions.samples:
            raise ValueError(
                f"{type(self.positions).__name__} samples positions in training and needs a seed for it: pass "
                "placement_seed=... to the model, a number that changes every step, or call eval()."
            )

    def _placed(
        self, index: Int[Tensor, "rows keys"], lengths: Int[Tensor, " rows"], placement_seed: int | None
    ) -> tuple[Float[Tensor, " factors"], Float[Tensor, "rows keys"]]:
        """Return factor and positions. In evaluation without a table of all tokens before: their text has no end."""
        length = self.scaling.spec.pretrain_length
        if placement_seed is None or not self.positions.samples:
            return self.positions.evaluation_factor(lengths, length), index.double()
        place = self.positions.place(lengths, length, placement_seed)
        return place.factor, place.positions.expand(len(index), -1).gather(1, index)

    def max_context(self, pretrain_length: int) -> int | None:
        """Return the longest context in tokens that positions and pattern both reach, or None if there is no end."""
        limits = [part.max_context(pretrain_length) for part in (self.positions, self.pattern)]
        return min((limit for limit in limits if limit is not None), default=None)

    def _check_context(self, lengths: Int[Tensor, " rows"]) -> None:
        max_context = self.pattern.max_context(self.scaling.spec.pretrain_length)
        if max_context is not None and int(lengths.max()) > max_context:
            raise ValueError(
                f"{type(self.pattern).__name__} reaches {max_context} tokens, but the context has "
                f"{int(lengths.max())}: its distances would leave those of pretraining. Raise the factor, or shorten "
                "the context."
            )
