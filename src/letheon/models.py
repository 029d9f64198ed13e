"""Models and tokenizers: loaded from a folder or the hub, or made on the spot."""

from __future__ import annotations

__all__ = [
    "MEMORY",
    "Loaded",
    "Outline",
    "answer_logits",
    "check_quantise",
    "checksum",
    "in_memory",
    "load",
    "make",
    "outline",
    "save",
    "skeleton",
]

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import validate_bnb_backend_availability
from transformers.utils import is_bitsandbytes_available

from letheon.adapters.converted import convert
from letheon.adapters.quantised import compute_in, float_type
from letheon.data.batch import Batch
from letheon.data.tokenizer import train_bpe
from letheon.errors import ModelError, nearest
from letheon.recipe import Make, ModelSource

# Letheon shows progress of its own.
transformers.utils.logging.disable_progress_bar()

# What a recipe calls a model that was an object of the caller's.
MEMORY = "(a model in memory)"

_WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Loaded:
    """A causal language model with its tokenizer and the checksum of its weights."""

    model: Any
    tokenizer: Any
    checksum: str

    @property
    def positions(self) -> int | None:
        """The tokens of the longest text that the model reads; None where nothing limits it."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @property
    def outline(self) -> Outline:
        """The same without the weights."""
        return Outline(self.model.config, float_type(self.model), self.tokenizer)


@dataclass(frozen=True)
class Outline:
    """A causal language model without its weights: configuration, their type, tokenizer."""

    config: Any
    dtype: torch.dtype
    tokenizer: Any

    @property
    def positions(self) -> int | None:
        """As that of the loaded model."""
        return getattr(self.config, "max_position_embeddings", None)

    def build(self) -> Any:
        """Return the model with random weights (with none at all among fake tensors)."""
        model = AutoModelForCausalLM.from_config(self.config, dtype=self.dtype)
        convert(model)
        return model


def load(source: ModelSource) -> Loaded:
    """Load ``source.path``, a folder or a hub name, quantised if ``source`` says so.

    Raises ModelError when there is no such model, it is not a causal language model, its files
    are not whole (transformers would fill missing weights with random ones), or it cannot be
    quantised here.
    """
    path, options = _place(source)
    tokenizer = _tokenizer(path, **options)
    if source.quantise is not None:
        options["quantization_config"] = _quantisation(source.quantise)
    try:
        with _quiet():
            model, found = AutoModelForCausalLM.from_pretrained(
                path, dtype=source.dtype, output_loading_info=True, **options
            )
    # Each library below has errors of its own, some plain: safetensors, torch, pickle, the hub.
    except Exception as error:
        mismatch = "ignore_mismatched_sizes" in str(error)
        reason = "its weights have other shapes than its config.json" if mismatch else error
        raise _unusable(path, reason) from error
    if found["missing_keys"]:
        names = sorted(found["missing_keys"])
        raise _unusable(path, f"{len(names)} weights are not in it, the first {names[0]}")
    _check_vocabulary(model, tokenizer, path)
    compute_in(model, float_type(model))
    convert(model)
    commit = getattr(model.config, "_commit_hash", None)
    return Loaded(model, tokenizer, checksum(Path(path)) or f"{path}@{commit}")


def in_memory(model: Any, tokenizer: Any) -> Loaded:
    """Return a transformers model that is there already, as ``load`` would; it stays one object.

    Its checksum is of its parameters and buffers, whatever they were loaded from. Raises ModelError
    for what is no causal language model of transformers, carries an adapter, or has no embedding
    for some token of ``tokenizer``.
    """
    kind = type(model).__name__
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:
        raise ModelError(
            "A model is a causal language model of transformers, or its folder or hub name.",
            got=f"an object of {kind}",
            remedy="Give what AutoModelForCausalLM.from_pretrained returns. An adapter of peft is "
            "merged first: model.merge_and_unload().",
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(
            "A model in memory comes with its tokenizer.",
            got=f"an object of {type(tokenizer).__name__}",
            remedy="Give tokenizer=AutoTokenizer.from_pretrained(...), the model's own.",
        )
    if any(isinstance(layer, BaseTunerLayer) for layer in model.modules()):
        raise ModelError(
            "A model that is to forget carries no adapter yet.",
            got=f"{kind} with an adapter of peft",
            remedy="Merge or unload it first.",
        )
    _check_vocabulary(model, tokenizer, kind)
    compute_in(model, float_type(model))
    convert(model)
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
    return Loaded(model, tokenizer, f"memory:{sha.hexdigest()}")


def outline(source: ModelSource, texts: Iterable[str]) -> Outline:
    """Return what ``load``, or ``make`` on ``texts``, would return, without the weights.

    Raises ModelError as they do, as far as no weights are read for it.
    """
    if source.make is not None:
        tokenizer, special, _ = _words(source.make, texts, seed=0)
        return Outline(_config(source.make, special), torch.float32, tokenizer)
    path, options = _place(source)
    tokenizer = _tokenizer(path, **options)
    try:
        config = AutoConfig.from_pretrained(path, **options)
    except Exception as error:
        raise _unusable(path, error) from error
    own = config.dtype if source.dtype == "auto" else getattr(torch, source.dtype)
    return Outline(config, own or torch.float32, tokenizer)


def make(spec: Make, texts: Iterable[str], *, seed: int) -> Loaded:
    """Make a model with random weights; a byte-pair tokenizer is trained on ``texts``.

    Raises ModelError for an unknown architecture or configuration field, or a value that the
    architecture refuses.
    """
    tokenizer, special, mark = _words(spec, texts, seed=seed)
    torch.manual_seed(seed)
    return Loaded(_fresh(spec, special), tokenizer, mark)


def skeleton(spec: Make) -> Any:
    """Return the model that ``make`` would make, without weights: to check what is put on it."""
    # An architecture's own special tokens may lie outside this vocabulary, which transformers says.
    none = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    with torch.device("meta"):
        return _fresh(spec, {"vocab_size": spec.vocab_size, **none})


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write an ordinary checkpoint with its tokenizer. Raises OSError when the disk is full."""
    model.save_pretrained(folder)
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        # tokenizers reports a failed write as a plain exception with the system's words in it.
        if "(os error " in str(error):
            raise OSError(str(error)) from error
        raise


def answer_logits(model: Any, batch: Batch, **options: Any) -> tuple[Tensor, Any]:
    """Run ``model`` over ``batch``; return the logits that predict its N answer tokens, [N, V].

    The head is given only those positions, one before each answer token, so logits of prompts and
    padding never exist. The second value is the model's whole output; ``options`` go to the model.
    A model wrapped for several processes is run through its wrapper.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[batch.before], *inputs[1:])

    handle = inner.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        out = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
            **options,
        )
    finally:
        handle.remove()
    return out.logits, out


def check_quantise(bits: Literal["4bit", "8bit"]) -> None:
    """Raise ModelError where no model can be quantised: no bitsandbytes, or no device for it."""
    _quantisation(bits)


def checksum(folder: Path) -> str:
    """Return the sha256 over a folder's weight files, or an empty string where there are none."""
    files = sorted(p for pattern in _WEIGHTS for p in folder.glob(pattern))
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            sha.update(hashlib.file_digest(stream, "sha256").digest())
    return sha.hexdigest() if files else ""


def _place(source: ModelSource) -> tuple[str, dict[str, Any]]:
    """Return where a model is and what to ask for it with; ModelError for an absent folder."""
    path = str(source.path)
    if path == MEMORY:
        raise ModelError(
            "What loads a run's model again needs a folder or a hub name.",
            got="a run of a model that was an object in memory",
            remedy="Save the model with save_pretrained before it forgets, and give that folder to "
            "letheon.unlearn.",
        )
    if path.startswith(("/", "./", "../", "~")) and not Path(path).is_dir():
        raise _unusable(path, "there is no such folder")
    return path, {"revision": source.revision} if source.revision else {}


def _words(spec: Make, texts: Iterable[str], *, seed: int) -> tuple[Any, dict[str, Any], str]:
    """Return a made model's tokenizer, what its configuration has of it, the model's mark."""
    if spec.tokenizer is not None:
        tokenizer = _tokenizer(spec.tokenizer)
        # The recipe's identity leaves paths out: which tokenizer it is must be said here.
        words = repr(sorted(tokenizer.get_vocab().items())).encode()
        mark = f"made:{seed}:{hashlib.sha256(words).hexdigest()}"
    else:
        tokenizer = train_bpe(texts, vocab_size=spec.vocab_size)
        mark = f"made:{seed}"
    special = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return tokenizer, special, mark


def _quantisation(bits: Literal["4bit", "8bit"]) -> BitsAndBytesConfig:
    """Return transformers' settings; ModelError where bitsandbytes or a device for it is absent."""
    rule = f"bitsandbytes quantises a model (quantise {bits})."
    if not is_bitsandbytes_available():
        raise ModelError(
            rule,
            got="no bitsandbytes of a version that transformers takes",
            remedy="Install the extra: pip install 'letheon[quantised]'.",
        )
    try:
        validate_bnb_backend_availability(raise_exception=True)
    except RuntimeError as error:
        raise ModelError(
            rule, got=error, remedy="Leave quantise out, or use a device that it names."
        ) from error
    if bits == "8bit":
        # It says at every product that fp16 is what it rounds activations from.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


def _tokenizer(path: str, **options: Any) -> Any:
    try:
        return AutoTokenizer.from_pretrained(path, **options)
    except Exception as error:  # tokenizers raises plain exceptions, and KeyError on odd files
        raise _unusable(path, error, what="tokenizer") from error


def _unusable(path: str, reason: object, *, what: str = "model") -> ModelError:
    lines = [line for line in str(reason).splitlines() if line.strip()] or [repr(reason)]
    said = f"{type(reason).__name__}: " if isinstance(reason, KeyError | RuntimeError) else ""
    return ModelError(
        "A model is a folder with config.json, weights and tokenizer, or a hub name.",
        got=f"{path}, whose {what} does not load: {said}{lines[0].rstrip('.: ')}",
        remedy="Check the path; without a network only local folders and cached models load.",
    )


def _check_vocabulary(model: Any, tokenizer: Any, path: str) -> None:
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            "A model has an embedding for every token of its tokenizer.",
            got=f"{path}: {len(tokenizer)} tokens, {rows} embeddings",
            remedy="Use the tokenizer that the model was trained with.",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' load report off the screen: what matters in it becomes an error here."""
    log = transformers.utils.logging
    before = log.get_verbosity()
    log.set_verbosity(log.CRITICAL)
    try:
        yield
    finally:
        log.set_verbosity(before)


def _fresh(spec: Make, special: dict[str, Any]) -> Any:
    config = _config(spec, special)
    with _refused(spec):
        return AutoModelForCausalLM.from_config(config)


def _config(spec: Make, special: dict[str, Any]) -> Any:
    _check_fields(spec)
    with _refused(spec):
        return AutoConfig.for_model(spec.architecture, **{**spec.config, **special})


@contextmanager
def _refused(spec: Make) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # every architecture checks its fields in its own way, or not
        raise ModelError(
            f"transformers cannot make a causal language model of this {spec.architecture}.",
            got=f"model.make.config {spec.config}: {' '.join(str(error).split())}",
            remedy="Mend model.make.",
        ) from error


def _check_fields(spec: Make) -> None:
    try:
        config = AutoConfig.for_model(spec.architecture)
    except ValueError:
        raise ModelError(
            "A model is made from an architecture that transformers knows.",
            got=spec.architecture,
            remedy=nearest(spec.architecture, ("gpt2", "gpt_neox", "llama", "phi", "qwen3")),
        ) from None
    known = set(config.to_dict()) | set(config.attribute_map)  # other names of the same fields
    for key in spec.config:
        if key not in known:
            raise ModelError(
                f"model.make.config holds fields of the {spec.architecture} configuration.",
                got=key,
                remedy=nearest(key, known),
            )
