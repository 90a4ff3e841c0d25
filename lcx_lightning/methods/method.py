"""A context-extension method: scaling x positions x temperature x pattern."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lcx_lightning.methods.outputs import MethodError, checked_output, class_name
from lcx_lightning.methods.packing import DocumentSpan, Packed, document_spans
from lcx_lightning.methods.patterns.base import Pattern
from lcx_lightning.methods.positions.base import Placement, PositionScheme, seed_of_row
from lcx_lightning.methods.rope import Rope, index_in_text
from lcx_lightning.methods.scaling.base import FrequencyScaling
from lcx_lightning.methods.temperature.base import Temperature


class Method(nn.Module):
    """A method in four parts, which gives every forward pass its `Rope`.

    Args:
        scaling: Frequencies as a function of the scale factor.
        positions: Scale factor and positions of the tokens of a pass.
        temperature: Scale of the rotated features, or of the logits.
        pattern: Keys that each query sees, and the distances at which it sees them.
    """

    def __init__(
        self, *, scaling: FrequencyScaling, positions: PositionScheme, temperature: Temperature, pattern: Pattern
    ) -> None:
        super().__init__()
        self.scaling, self.positions, self.temperature, self.pattern = scaling, positions, temperature, pattern

    def rope(  # noqa: PLR0913 one pass in full
        self,
        valid: Bool[Tensor, "rows keys"],
        queries: int,
        placement_seed: int | None = None,
        future_tokens: int = 0,
        index: Int[Tensor, "rows keys"] | None = None,
        rotated: bool = False,
        visible_keys: Int[Tensor, " visible"] | None = None,
        local_tokens: slice | None = None,
        placement_rows: Sequence[int] = (0,),
    ) -> Rope:
        """Return the geometry of one forward pass: positions, frequencies, bands and scales.

        Args:
            valid: False on padding, which may stand on either side. A single row serves a batch of equal rows. Every
                row has its own length, and therefore its own factor and frequencies.
            queries: Number of queries; they are the last tokens of the context.
            placement_seed: Seed for sampling the positions of a training pass. None places tokens as in evaluation.
            future_tokens: Tokens still to be added to every row. They count in the length that decides its factor.
            index: Index of each key in its text, if a cache holds only some of the keys. None if no key is missing.
            rotated: Whether the keys come from a cache that holds them already rotated to their positions.
            visible_keys: Indices of the keys held by this rank, if several ranks share each text. None for all keys.
            local_tokens: Tokens that are this rank's queries, if several ranks share each text. None for the last
                `queries` tokens.
            placement_rows: Number of each row in the batch of its optimizer step. Schemes that sample every row by
                itself do so from the seed and this number.

        Raises:
            ValueError: If the method samples positions, is in training mode and was given no placement_seed; or if the
                context is longer than the pattern supports.
        """
        self._check_placement_seed(placement_seed)
        spec = self.scaling.spec
        if index is None:
            index = index_in_text(valid)
        lengths = index.amax(dim=-1) + 1
        self._check_context(lengths + future_tokens)
        factor, positions = self._factor_and_positions(index, lengths + future_tokens, placement_seed, placement_rows)
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

    def packed(
        self,
        segments: Int[Tensor, "rows tokens"],
        restart: bool,
        placement_seed: int | None = None,
        placement_rows: Sequence[int] | None = None,
    ) -> Packed:
        """Return the geometry of one pass over rows of several documents, none of which sees another.

        Args:
            segments: Segment number of each token. A document ends where the number changes.
            restart: Whether each document is placed as if it stood alone, with the factor of its own length. If False,
                positions run through the whole row, and a document has its part of them and the factor of the row.
            placement_seed: Seed for sampling the positions of a training pass, as for `rope`.
            placement_rows: Number of each row in the batch of its optimizer step. None numbers them from 0.

        Raises:
            ValueError: For the reasons that `rope` names.
        """
        self._check_placement_seed(placement_seed)
        spans, tokens = document_spans(segments), segments.shape[1]
        numbers = range(len(segments)) if placement_rows is None else placement_rows
        sizes = torch.tensor([[span.stop - span.start] for span in spans], device=segments.device)
        self._check_context(sizes[:, 0])
        placed = [
            self._place(n if restart else n.new_tensor([tokens]), placement_seed, [numbers[row] for row in span.rows])
            for n, span in zip(sizes, spans, strict=True)
        ]
        factors, factor_index = torch.cat([place.factor for place in placed]).unique(return_inverse=True)
        inv_freq = self.scaling(factors.float())  # one call, as on every other rank
        ropes = [
            self._document(span, place.positions[:, 0 if restart else span.start :], factors[i : i + 1], inv_freq[i])
            for span, place, i in zip(spans, placed, factor_index.tolist(), strict=True)
        ]
        return Packed(spans, ropes, tokens)

    def _document(
        self,
        span: DocumentSpan,
        positions: Float[Tensor, "rows tokens"],
        factor: Float[Tensor, " one"],
        inv_freq: Float[Tensor, " pairs"],
    ) -> Rope:
        """Return the `Rope` of the documents of one span; a single row serves them all, unless rows are sampled."""
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
                f"{type(self.positions).__name__} samples positions in training and needs a seed: pass "
                "placement_seed=... to the model, a number that changes every step, or call eval()."
            )

    def _place(self, lengths: Int[Tensor, " rows"], placement_seed: int | None, rows: Sequence[int]) -> Placement:
        """Return the placement of a pass, whose rows have these numbers in the batch of their optimizer step."""
        length = self.scaling.spec.pretrain_length
        if placement_seed is None or not self.positions.samples_rows:
            return self._checked_place(self.positions.place(lengths, length, placement_seed), lengths)
        longest = lengths.amax(dim=0, keepdim=True)
        seeds = [seed_of_row(placement_seed, row) for row in rows]
        placed = [self._checked_place(self.positions.place(longest, length, seed), longest) for seed in seeds]
        return Placement(placed[0].factor, torch.cat([place.positions for place in placed]))

    def _checked_place(self, place: Any, lengths: Int[Tensor, " rows"]) -> Placement:
        """Return a placement; MethodError if it is none, or of other rows or fewer tokens than there are."""
        name = f"{class_name(self.positions)}.place"
        if not hasattr(place, "factor") or not hasattr(place, "positions"):
            raise MethodError(f"{name} must return a Placement, got {type(place).__name__}.")
        rows, tokens = (1, len(lengths)), int(lengths.max())
        checked_output(self.positions, "place", place.factor, [rows])
        if not isinstance(place.positions, Tensor) or place.positions.ndim != 2 or place.positions.shape[1] < tokens:
            got = list(getattr(place.positions, "shape", [])) or type(place.positions).__name__
            raise MethodError(f"{name} must return rows of positions for {tokens} tokens, got {got}.")
        checked_output(self.positions, "place", place.positions, [rows, place.positions.shape[1]])
        return place

    def _factor_and_positions(
        self,
        index: Int[Tensor, "rows keys"],
        lengths: Int[Tensor, " rows"],
        placement_seed: int | None,
        placement_rows: Sequence[int],
    ) -> tuple[Float[Tensor, " factors"], Float[Tensor, "texts keys"]]:
        """Return factor and positions.

        In evaluation a position is the index itself, with no table of all positions: a stream may be endless.
        """
        if placement_seed is None or not self.positions.samples:
            factor = self.positions.evaluation_factor(lengths, self.scaling.spec.pretrain_length)
            return checked_output(self.positions, "evaluation_factor", factor, [(1, len(lengths))]), index.double()
        place = self._place(lengths, placement_seed, placement_rows)
        rows = max(len(index), len(place.positions))
        return place.factor, place.positions.expand(rows, -1).gather(1, index.expand(rows, -1))

    def max_context(self, pretrain_length: int) -> int | None:
        """Return the longest context in tokens that both positions and pattern support, or None if unlimited."""
        limits = [part.max_context(pretrain_length) for part in (self.positions, self.pattern)]
        return min((limit for limit in limits if limit is not None), default=None)

    def _check_context(self, lengths: Int[Tensor, " rows"]) -> None:
        max_context = self.pattern.max_context(self.scaling.spec.pretrain_length)
        if max_context is not None and int(lengths.max()) > max_context:
            raise ValueError(
                f"{type(self.pattern).__name__} reaches {max_context} tokens, but the context has "
                f"{int(lengths.max())}: it would produce distances beyond those of pretraining. Raise the factor, or "
                "shorten the context."
            )
