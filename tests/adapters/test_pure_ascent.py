"""The theorem's case: ascent on the loss alone (arXiv 2509.24166).

Without a bound, weights and logits run away; with one, every entry of the change stays within
`scale * sup` and so do the logits, however long the ascent goes on. The output layer is adapted
too: a frozen one behind a normalised hidden state bounds the logits by itself.
"""

from itertools import pairwise

import pytest
import torch
from adapter_families import inputs, make
from peft import get_peft_model

from letheon.adapters import BoundedLoraConfig, weight_change

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

STEPS, WIDTH = 240, 32
TARGETS = ["gate_proj", "up_proj", "down_proj", "lm_head"]


def ascend(bound):
    """Return the largest entry of dW, the largest logit and the loss, at each tenth of the way."""
    config = BoundedLoraConfig(r=4, bound=bound, seed=1, target_modules=TARGETS)
    model = get_peft_model(make("llama"), config).train()
    batch = inputs("llama")
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    trace = []
    for step in range(1, STEPS + 1):
        out = model(**batch, labels=batch["input_ids"])
        optimizer.zero_grad()
        (-out.loss).backward()
        optimizer.step()
        if step % (STEPS // 10) == 0:
            peak = max(row["max_abs"] for row in weight_change(model))
            trace.append((peak, out.logits.abs().max().item(), out.loss.item()))
    return zip(*trace, strict=True)


def test_without_a_bound_weights_and_logits_grow_without_end():
    for values in ascend("identity"):
        assert all(later > earlier for earlier, later in pairwise(values))
        assert values[-1] > 50 * values[0]


@pytest.mark.parametrize("bound", ["sine", "tanh"])
def test_with_a_bound_they_stay_under_it(bound):
    peaks, logits, losses = ascend(bound)
    limit = 2 / WIDTH**0.5
    assert all(peak <= limit * (1 + 1e-6) for peak in peaks)
    assert peaks[-1] > 0.9 * limit
    # the hidden state before the output layer has norm sqrt(width)
    rows = make("llama").lm_head.weight.norm(dim=1).max().item() + limit * WIDTH**0.5
    assert all(logit <= rows * WIDTH**0.5 * (1 + 1e-5) for logit in logits)
    assert torch.tensor(losses).isfinite().all()
