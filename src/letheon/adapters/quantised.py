"""Weights that bitsandbytes stores in four or eight bits, read back a block at a time.

Both formats give the numbers that bitsandbytes itself gives for the whole weight ``[out, in]``:

- 4 bits (nf4, fp4): two entries a byte, row after row, and one scale (absmax) for every 64 entries
  or so. A block of whole scales is decoded by itself; where a row is no whole number of scales,
  the rows of the block are, at their full width. Doubly quantised scales are decoded at once, to
  1/16 of a byte an entry.
- 8 bits (LLM.int8): one byte an entry and one scale a row, so that any block stands by itself.

bitsandbytes is imported where a weight is read, and only there.
"""

from __future__ import annotations

__all__ = ["compute_in", "dequantise", "float_type", "is_quantised", "plain_layer", "reader"]

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from transformers.utils.quantization_config import QuantizationMethod

from letheon.adapters.linear import Readable
from letheon.errors import ModelError

Block = tuple[slice, slice]
BITS_AND_BYTES = QuantizationMethod.BITS_AND_BYTES


def is_quantised(layer: nn.Module) -> bool:
    """Whether ``layer`` is linear with a weight that bitsandbytes has quantised."""
    weight = getattr(layer, "weight", None)
    if not isinstance(layer, nn.Linear) or weight is None:
        return False
    # By name: a model without such weights must not need bitsandbytes.
    kind = type(weight).__name__
    four = kind == "Params4bit" and weight.quant_state is not None
    return four or (kind == "Int8Params" and weight.dtype == torch.int8)


def reader(layer: Any) -> Callable[[Tensor], Readable]:
    """Return what reads the stored weight of a quantised ``layer``.

    Raises ModelError when the layer was run on a CPU with AVX512-BF16 before it was adapted.
    """
    if type(layer.weight).__name__ == "Int8Params":
        # The layer's first forward moves the scales from the weight to its state.
        scale = layer.state.SCB if layer.weight.SCB is None else layer.weight.SCB
        return partial(EightBit, scale=scale)
    if getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
        # bitsandbytes' own way back leaves the scales rounded and transposed (0.50.2)
        raise ModelError(
            "A 4-bit layer that bitsandbytes has repacked for AVX512-BF16 cannot be read.",
            got="a model that was evaluated before it was adapted or merged",
            remedy="Load it again and adapt it first, or load it with letheon.models.load.",
        )
    layer.support_avx512bf16_for_cpu = False
    return partial(FourBit, state=layer.weight.quant_state)


def plain_layer(layer: Any, weight: Tensor) -> nn.Module:
    """Return ``layer`` unquantised, with ``weight [out, in]``: of the class that it once was."""
    transposed = getattr(layer, "source_cls", nn.Linear) is Conv1D
    with torch.device("meta"):
        plain: Any = (
            Conv1D(layer.out_features, layer.in_features)
            if transposed
            else nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        )
    plain.weight = nn.Parameter(weight.t().contiguous() if transposed else weight)
    plain.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().to(weight.dtype))
    plain.requires_grad_(False)
    module: nn.Module = plain.train(layer.training)
    return module


def dequantise(model: Any) -> None:
    """Replace every quantised layer of ``model`` by a plain one in the model's own type."""
    dtype = float_type(model)
    for name, layer in [*model.named_modules()]:
        if is_quantised(layer):
            every = slice(0, layer.out_features), slice(0, layer.in_features)
            weight = reader(layer)(layer.weight)[every].to(dtype)
            model.set_submodule(name, plain_layer(layer, weight))
    quantizer = vars(model).get("hf_quantizer")
    if quantizer and quantizer.quantization_config.quant_method == BITS_AND_BYTES:
        quantizer.remove_quantization_config(model)
        for mark in ("is_loaded_in_4bit", "is_loaded_in_8bit"):
            vars(model).pop(mark, None)


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let the 4-bit layers of ``model`` compute in ``dtype`` instead of fp32, never repacked."""
    for layer in model.modules():
        if is_quantised(layer) and type(layer.weight).__name__ == "Params4bit":
            vars(layer).update(compute_dtype=dtype, support_avx512bf16_for_cpu=False)


def float_type(model: nn.Module) -> torch.dtype:
    """Return the type of what is not quantised: the first such parameter's."""
    every = (m for m in model.modules() if not is_quantised(m))
    found = (p.dtype for m in every for p in m.parameters(recurse=False) if p.is_floating_point())
    return next(found, torch.float32)


class FourBit:
    """A weight ``[out, in]`` in four bits, ``state`` bitsandbytes' description of it."""

    def __init__(self, packed: Tensor, state: Any) -> None:
        from bitsandbytes import functional

        self._functional: Any = functional
        self._state = state
        self.shape: tuple[int, ...] = tuple(state.shape)
        self._bytes = packed.data.view(torch.uint8).reshape(-1)
        self._scales = state.absmax
        if state.nested:
            scales = functional.dequantize_blockwise(state.absmax, state.state2)
            self._scales = (scales + state.offset).float()

    def __getitem__(self, block: Block) -> Tensor:
        """Return the entries of some rows and columns, in the type they were quantised from."""
        rows, cols = block
        per, width = self._state.blocksize, self.shape[1]
        if any(edge % per for edge in (width, cols.start, cols.stop)):
            return self._rows(rows)[:, cols]
        codes = self._bytes.view(-1, width // 2)[rows, cols.start // 2 : cols.stop // 2]
        scales = self._scales.view(-1, width // per)[rows, cols.start // per : cols.stop // per]
        return self._decoded(codes, scales, (rows.stop - rows.start, cols.stop - cols.start))

    def _rows(self, rows: slice) -> Tensor:
        """Decode rows at their full width, and what shares a scale with their ends."""
        per, (height, width) = self._state.blocksize, self.shape
        start, stop = rows.start * width, rows.stop * width
        first, last = start // per * per, min(-(-stop // per) * per, height * width)
        codes = self._bytes[first // 2 : -(-last // 2)]
        scales = self._scales[first // per : -(-last // per)]
        flat = self._decoded(codes, scales, (1, last - first)).flatten()
        return flat[start - first : stop - first].view(-1, width)

    def _decoded(self, codes: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
        # The kernels know no strides, and a reshaped slice may still have some.
        codes, scales = codes.contiguous().view(-1, 1), scales.contiguous().view(-1)
        state = self._functional.QuantState(
            absmax=scales,
            shape=torch.Size(shape),
            code=self._state.code,
            blocksize=self._state.blocksize,
            quant_type=self._state.quant_type,
            dtype=self._state.dtype,
        )
        entries: Tensor = self._functional.dequantize_4bit(codes, state)
        return entries


class EightBit:
    """A weight ``[out, in]`` in eight bits, with a ``scale [out]``."""

    def __init__(self, packed: Tensor, scale: Tensor) -> None:
        from bitsandbytes import functional

        self._functional: Any = functional
        self.shape: tuple[int, ...] = tuple(packed.shape)
        self._bytes, self._scale = packed.data, scale

    def __getitem__(self, block: Block) -> Tensor:
        """Return the entries of some rows and columns in fp32."""
        rows, cols = block
        entries: Tensor = self._functional.int8_vectorwise_dequant(
            self._bytes[rows, cols], self._scale[rows]
        )
        return entries
