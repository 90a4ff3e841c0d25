"""A context-extension method: scaling x positions x temperature x pattern."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lcx_lightning.attention.packed import Packed, Span, spans_of
from lcx_lightning.attention.rope import Rope, places
from lcx_lightning.attention.share import Share
from lcx_lightning.patterns.base import Pattern
from lcx_lightning.positions.base import PositionScheme
from lcx_lightning.scaling.base import FrequencyScaling
from lcx_lightning.temperature.base import Temperature


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
        draw: int | None = None,
        to_come: int = 0,
        index: Int[Tensor, "rows keys"] | None = None,
        rotated: bool = False,
        share: Share | None = None,
    ) -> Rope:
        """Return the positions of one forward pass.

        Args:
            valid: False on padding, which may stand on either side; one row serves a batch of equal rows. Every row
                has its own length, and so its own factor and frequencies.
            queries: The queries are the last so many tokens.
            draw: Seed of a training placement; None places as in evaluation.
            to_come: Tokens that every row is still to be given: its factor is that of its length with them.
            index: Place of each key in its text, where a cache holds some of them only. None: no key is missing.
            rotated: Whether the keys come from a cache that holds them rotated to their places.
            share: What this rank holds of the texts: queries, and the keys they see. None: all.

        Raises:
            ValueError: If the method is in training and samples positions, but was given no draw, or the context is
                longer than the method reaches.
        """
        self._check_draw(draw)
        spec = self.scaling.spec
        if index is None:
            index = places(valid)
        lengths = index.amax(dim=-1) + 1
        self._check_reach(lengths + to_come)
        factor, positions = self._placed(index, lengths + to_come, draw)
        bands, query_index = self.pattern.bands(), index[:, -queries:]
        visible = torch.stack([band.keys_seen(query_index) for band in bands]).sum(dim=0)
        logit_scale = self.temperature.logit_scale(visible, spec.pretrain_length)
        if share is not None:
            index, positions, valid = (x[:, share.slots] for x in (index, positions, valid))
            logit_scale = None if logit_scale is None else logit_scale[:, share.own]
            queries = share.own.stop - share.own.start
        rope = Rope(
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
        rope.share = share
        return rope

    def packed(self, segments: Int[Tensor, "rows tokens"], restart: bool, draw: int | None = None) -> Packed:
        """Return the positions of one pass over rows of several documents, none of which sees another.

        Args:
            segments: Of each token; a document ends where it changes.
            restart: Whether each document is placed as if it stood alone, with the factor of its own length. Else the
                row is placed, and a document keeps its part of the positions and the factor of the row.
            draw: Seed of a training placement, as for `rope`.

        Raises:
            ValueError: As `rope` does.
        """
        self._check_draw(draw)
        spans, length, tokens = spans_of(segments), self.scaling.spec.pretrain_length, segments.shape[1]
        sizes = torch.tensor([[span.stop - span.start] for span in spans], device=segments.device)
        self._check_reach(sizes[:, 0])
        placed = [self.positions.place(n if restart else n.new_tensor([tokens]), length, draw) for n in sizes]
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

    def _check_draw(self, draw: int | None) -> None:
        if draw is None and self.training and self.positions.samples:
            raise ValueError(
                f"{type(self.positions).__name__} samples positions in training and needs a seed for it: pass draw=... "
                "to the model, a number that changes every step, or call eval()."
            )

    def _placed(
        self, index: Int[Tensor, "rows keys"], lengths: Int[Tensor, " rows"], draw: int | None
    ) -> tuple[Float[Tensor, " factors"], Float[Tensor, "rows keys"]]:
        """Return factor and positions. In evaluation without a table of all tokens before: their text has no end."""
        length = self.scaling.spec.pretrain_length
        if draw is None or not self.positions.samples:
            return self.positions.evaluation_factor(lengths, length), index.double()
        place = self.positions.place(lengths, length, draw)
        return place.factor, place.positions.expand(len(index), -1).gather(1, index)

    def reach(self, pretrain_length: int) -> int | None:
        """Return the longest context in tokens that positions and pattern both reach, or None if there is no end."""
        reaches = [part.reach(pretrain_length) for part in (self.positions, self.pattern)]
        return min((reach for reach in reaches if reach is not None), default=None)

    def _check_reach(self, lengths: Int[Tensor, " rows"]) -> None:
        reach = self.pattern.reach(self.scaling.spec.pretrain_length)
        if reach is not None and int(lengths.max()) > reach:
            raise ValueError(
                f"{type(self.pattern).__name__} reaches {reach} tokens, but the context has {int(lengths.max())}: its "
                "distances would leave those of pretraining. Raise the factor, or shorten the context."
            )
