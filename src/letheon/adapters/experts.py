"""The layer that replaces a mixture's experts: every expert has bounded adapters of its own.

The module takes over the experts' computation, because transformers' own takes whole stacks: a
stack with the change added would be built, and saved for backward, for all experts at once. Here
each expert that tokens were sent to runs the panelled function of ``linear.py`` on its rows.
"""

from __future__ import annotations

__all__ = ["BoundedLoraExperts"]

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.functional import linear

from letheon.adapters.layer import BoundedLoraLayer

UP, DOWN = 0, 1


class BoundedLoraExperts(BoundedLoraLayer):
    """The experts of a mixture (T tokens of width H, each sent to K of E experts), adapted.

    Factors: ``A [E, r, in]``, ``B [E, out, r]`` for both stacks; the router stays as it is.
    """

    adapter_layer_names = (
        "bounded_lora_up_A",
        "bounded_lora_up_B",
        "bounded_lora_down_A",
        "bounded_lora_down_B",
    )

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Map ``[T, H]`` to ``[T, H]``; expert ids and routing weights are ``[T, K]``."""
        names = self._enter()
        # Transformers' own goes by numbers, which a plan's tensors do not have.
        if not names and not isinstance(hidden_states, FakeTensor):
            result: Tensor = self.base_layer(hidden_states, top_k_index, top_k_weights)
            return result
        ids, order = top_k_index.flatten().sort(stable=True)
        rows = hidden_states[order // top_k_index.shape[1]]
        out = self._by_expert(rows, ids, names) * top_k_weights.flatten()[order].unsqueeze(1)
        # every slot [T, K] back to its place, then summed in a fixed order: no scattered adds
        slots = out[order.argsort()].view(*top_k_index.shape, -1)
        return slots.sum(1).to(hidden_states.dtype)

    def _by_expert(self, rows: Tensor, ids: Tensor, names: Sequence[str]) -> Tensor:
        """Run each expert on its rows; ``ids`` are sorted, an id past the last expert yields 0."""
        count = self.matrices[UP].experts
        assert count is not None
        up, down = _Stack(self, UP, names), _Stack(self, DOWN, names)
        sizes = _sizes(ids, count)
        parts = torch.split(rows, sizes)
        outs = [
            self._finish(down(e, self._gate(up(e, part)))) if e < count else part * 0
            for e, part in enumerate(parts)
            if len(part)
        ]
        return torch.cat(outs)

    def _gate(self, x: Tensor) -> Tensor:
        experts = self.get_base_layer()
        gated: Tensor = experts._apply_gate(x) if experts.has_gate else experts.act_fn(x)
        return gated

    def _finish(self, x: Tensor) -> Tensor:
        experts = self.get_base_layer()
        normed = vars(experts).get("has_post_expert_norm", False)  # younger than the others
        finished: Tensor = experts.post_expert_norm(x) if normed else x
        return finished


def _sizes(ids: Tensor, count: int) -> list[int]:
    """Return how many of the sorted ``ids`` are each expert's; ids past the last come last."""
    if isinstance(ids, FakeTensor):  # a plan has no numbers to route by: shares are equal
        cuts = [round(e * len(ids) / count) for e in range(count + 1)]
        return [b - a for a, b in pairwise(cuts)]
    sizes: list[int] = torch.bincount(ids, minlength=count).tolist()
    return sizes


class _Stack:
    """One stack of matrices in one call, cut into experts.

    Cut all at once: the backward pass of one index per expert would fill the whole stack's
    gradient with zeros for each.
    """

    def __init__(self, layer: BoundedLoraExperts, index: int, names: Sequence[str]) -> None:
        self.layer, self.index = layer, index
        self.matrix = layer.matrices[index]
        self.weights = layer.weight(index).unbind()
        name = self.matrix.bias
        self.biases = None if name is None else getattr(layer.get_base_layer(), name).unbind()
        self.bounded = [n for n in names if layer._is_bounded(n)]
        self.factors = [f.unbind() for f in layer.factors(self.bounded, index)]
        plain = [n for n in names if not layer._is_bounded(n)]
        self.plain = {n: [f.unbind() for f in layer.factors([n], index)] for n in plain}

    def __call__(self, expert: int, x: Tensor) -> Tensor:
        """Map ``x [n, in]`` to ``[n, out]`` with the adapted matrix of one expert."""
        weight = self.weights[expert]
        bias = None if self.biases is None else self.biases[expert]
        if self.bounded:
            factors = [f[expert] for f in self.factors]
            key = (self.index, expert)
            y = self.layer._bounded(x, weight, bias, self.bounded, factors, key)
        else:
            y = linear(x, weight.t() if self.matrix.transposed else weight, bias)
        dtype = y.dtype
        for name, pair in self.plain.items():
            y = y + self.layer._plain(x, name, self.index, [f[expert] for f in pair])
        return y.to(dtype)
