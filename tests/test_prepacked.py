"""Laws of `sembridge.encoders.prepacked`: the same products, through weights that lie as the processor takes them."""

import pytest
import torch
from tiny import assert_same_vectors
from torch import nn

from sembridge.encoders.prepacked import FEWEST_TEXTS, _works, prepacked


def model_of(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 80), nn.GELU(), nn.Linear(80, 40, bias=False)).to(dtype)


@pytest.mark.numerics
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 48), (70, 48), (5, 3, 48), (0, 48), (48,)])
def test_the_product_is_the_same(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    model, given = model_of(dtype), torch.randn(shape).to(dtype)
    with torch.inference_mode():
        expected = model(given)
        with prepacked(model, FEWEST_TEXTS):
            found = model(given)
    assert found.shape == expected.shape
    if not found.numel():
        return
    if dtype == torch.float32:
        assert_same_vectors(found, expected)
    else:
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7)  # one step of bfloat16


def changed_inside(n_texts: int) -> bool:
    """Whether a weight that is changed inside counts at once."""
    model, given = model_of(), torch.ones(3, 48)
    with torch.inference_mode():
        before = model(given)
        with prepacked(model, n_texts):
            model[2].weight.zero_()
            return not torch.equal(model(given), before)


@pytest.mark.skipif(not _works(torch.float32), reason="this torch arranges no weights")
def test_weights_are_arranged_for_many_texts_and_anew_each_time() -> None:
    assert changed_inside(FEWEST_TEXTS - 1)
    model, given = model_of(), torch.ones(3, 48)
    with torch.inference_mode():
        with prepacked(model, FEWEST_TEXTS):
            before = model(given)
            model[2].weight.zero_()
            assert_same_vectors(model(given), before)
        with prepacked(model, FEWEST_TEXTS):
            assert not model(given).any()


def test_gradients_go_the_plain_way() -> None:
    model = model_of()
    with prepacked(model, FEWEST_TEXTS):
        model(torch.ones(3, 48)).sum().backward()
    assert model[0].weight.grad is not None


def test_layers_of_other_classes_and_dtypes_stay_as_they_are() -> None:
    class Doubled(nn.Linear):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(given)

    class Quantised(torch.Tensor):
        """As libraries of quantisation put it into a plain layer."""

    model = nn.Sequential(Doubled(4, 4), nn.Linear(4, 4)).double()
    model[1].weight = nn.Parameter(model[1].weight.detach().as_subclass(Quantised))
    assert type(model[1].weight) is Quantised
    given = torch.ones(2, 4, dtype=torch.double)
    with torch.inference_mode():
        expected = model(given)
        with prepacked(model, FEWEST_TEXTS):
            assert torch.equal(model(given), expected)
        quantised = nn.Linear(4, 4)
        quantised.weight = nn.Parameter(quantised.weight.detach().as_subclass(Quantised))
        with prepacked(quantised, FEWEST_TEXTS):
            assert type(quantised(torch.ones(2, 4))) is Quantised
