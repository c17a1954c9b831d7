"""Laws of the weights: what entmax is, and that no way of computing it shows in the result."""

import math
import subprocess
import sys

import entmax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from sembridge.errors import SembridgeError
from sembridge.language_transfer import similarity as module
from sembridge.language_transfer.entmax import Entmax, TopKSoftmax
from sembridge.language_transfer.similarity import sparse_weights, weights_and_nearest
from sembridge.language_transfer.sparse_matrix import SparseWeights

pytestmark = pytest.mark.numerics

ALPHAS = (1.0, 1.1, 1.5, 2.0, 3.0, 4.0, 8.0, 64.0)


def dense(weights: SparseWeights) -> Tensor:
    matrix = torch.zeros(weights.n_rows, weights.n_columns)
    matrix[weights.row_ids(), weights.col_indices] = weights.values
    return matrix


def vectors(n: int, dim: int = 24, *, seed: int = 0, n_clusters: int = 40, spread: float = 0.3) -> Tensor:
    """(n, dim) unit vectors in clusters on one side of the sphere: high, compressed cosines with near ties."""
    centres = torch.randn(n_clusters, dim, generator=torch.Generator().manual_seed(99)) * 0.6 + 0.4
    generator = torch.Generator().manual_seed(seed)
    chosen = centres[torch.randint(0, n_clusters, (n,), generator=generator)]
    return normalize(chosen + spread * torch.randn(n, dim, generator=generator), dim=1)


def with_cosines(cosines: list[float]) -> tuple[Tensor, Tensor]:
    """One target and len(cosines) sources whose products are exactly these; unit length is not asked for."""
    return torch.tensor([[1.0, 0.0]]), torch.tensor([[cosine, 0.0] for cosine in cosines])


def row(cosines: list[float], rule: Entmax | TopKSoftmax) -> Tensor:
    return dense(sparse_weights(*with_cosines(cosines), rule=rule))[0]


def exact_similarities(target: Tensor, source: Tensor) -> Tensor:
    """What the kernel stores: float64 dot products rounded to float32. Solving from float32 products instead moves
    weights at the edge of a support by up to 5e-3 at alpha 4."""
    return (target.double() @ source.double().T).float().double()


def assert_same_bits(one: SparseWeights, other: SparseWeights) -> None:
    for name in ("crow_indices", "col_indices", "values", "similarities"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


# What entmax is


@pytest.mark.parametrize(("alpha", "oracle"), [(1.0, torch.softmax), (1.5, entmax.entmax15), (2.0, entmax.sparsemax)])
def test_alpha_1_and_3_halves_and_2_equal_the_entmax_package(alpha, oracle):
    target, source = vectors(30), vectors(700, seed=1)
    expected = oracle(exact_similarities(target, source), dim=1)
    torch.testing.assert_close(
        dense(sparse_weights(target, source, rule=Entmax(alpha))).double(), expected, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("alpha", [1.0001, 1.1, 1.25, 1.75, 2.5, 3.0, 4.0])
@pytest.mark.parametrize("spread", [0.05, 0.3, 2.0])
def test_alphas_to_4_equal_entmax_bisect(alpha, spread):
    """From alpha 8 on the oracle itself is off by 1e-3 and more; see the defining equation below."""
    target, source = vectors(30, spread=spread), vectors(700, seed=1, spread=spread)
    expected = entmax.entmax_bisect(exact_similarities(target, source), alpha=alpha, dim=1, n_iter=100)
    actual = dense(sparse_weights(target, source, rule=Entmax(alpha))).double()
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


@settings(max_examples=150, deadline=None)
@given(
    # The gap to the best, a float64, does not tell 1e-27 from 0, and the root of a large alpha does.
    cosines=st.lists(
        st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.8]) | st.floats(-1, 1, width=32).map(lambda cosine: round(cosine, 9)),
        min_size=1, max_size=60,
    ),
    alpha=st.floats(1.001, 64.0) | st.sampled_from(ALPHAS[1:]),
)  # fmt: skip
def test_weights_solve_the_defining_equation(cosines, alpha):
    """`w_i^a = a s_i - tau` on the support, a = alpha - 1; an entry outside finds no weight left to join with."""
    w = row(cosines, Entmax(alpha)).double().numpy()
    s = np.array(cosines, np.float32).astype(np.float64)
    a, support = alpha - 1, w > 0
    assert w.sum() == pytest.approx(1, abs=1e-6)
    # Written around one entry of the support in place of tau, which hides the digits of small weights: around the
    # lowest for a >= 1 and the best for a < 1, as the other way round amplifies the float32 error of the entry.
    anchor = (np.argmin if a >= 1 else np.argmax)(np.where(support, s, np.inf if a >= 1 else -np.inf))
    expected = np.maximum(w[anchor] ** a + a * (s - s[anchor]), 0) ** (1 / a)
    np.testing.assert_allclose(w[support], expected[support], atol=1e-6)
    for outside in s[~support]:
        assert (np.maximum(a * (s[support] - outside), 0) ** (1 / a)).sum() >= 1 - 1e-6


@pytest.mark.parametrize("rule", [*map(Entmax, ALPHAS), Entmax(math.inf), TopKSoftmax(7)], ids=str)
def test_rows_are_positive_and_sum_to_one(rule):
    weights = sparse_weights(vectors(50), vectors(600, seed=1), rule=rule)
    weights.validate()
    sums = torch.zeros(50, dtype=torch.float64).index_add_(0, weights.row_ids(), weights.values.double())
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-6, rtol=0)


def test_support_never_grows_with_alpha():
    target, source = vectors(60), vectors(900, seed=1)
    sizes = torch.stack([sparse_weights(target, source, rule=Entmax(a)).support_sizes() for a in (*ALPHAS, math.inf)])
    assert (sizes.diff(dim=0) <= 0).all()
    assert (sizes[0] == 900).all()
    assert (sizes[-1] >= 1).all()


@pytest.mark.parametrize("alpha", [1.5, 2.0, 3.0, 4.0, 9.0])
@pytest.mark.parametrize("n_leaders", [1, 2, 3, 10, 500])
def test_a_token_joins_tied_leaders_only_within_the_gap(alpha, n_leaders):
    gap = n_leaders ** -(alpha - 1) / (alpha - 1)
    if alpha == 4 and n_leaders <= 3:
        assert gap == pytest.approx([0.333, 0.042, 0.012][n_leaders - 1], abs=5e-4)
    leaders, slack = [0.75] * n_leaders, 1e-6  # float32 cosines lie 6e-8 apart
    outside = row([*leaders, 0.75 - gap - slack], Entmax(alpha))
    assert outside[-1] == 0
    torch.testing.assert_close(outside[:-1], torch.full((n_leaders,), 1 / n_leaders))
    if gap > slack:
        inside = row([*leaders, 0.75 - gap + slack], Entmax(alpha))
        assert 0 < inside[-1] < inside[0]


@pytest.mark.parametrize("alpha", [64.0, 1000.0, 1e9, math.inf])
def test_large_alpha_gives_all_weight_to_the_best_and_ties_share(alpha):
    torch.testing.assert_close(row([0.5, 0.8, 0.1, 0.8], Entmax(alpha)), torch.tensor([0, 0.5, 0, 0.5]))
    torch.testing.assert_close(row([0.5] * 999, Entmax(alpha)), torch.full((999,), 1 / 999))


@pytest.mark.parametrize("alpha", [1 + 2**-52, 1 + 1e-9, 1 + 1e-5])
def test_alpha_just_above_one_is_softmax(alpha):
    cosines = vectors(200)[:, 0].tolist()
    torch.testing.assert_close(row(cosines, Entmax(alpha)), torch.softmax(torch.tensor(cosines), 0), atol=1e-6, rtol=0)


def test_top_k_softmax_weighs_the_k_best():
    actual = row([0.5, 0.8, 0.1, 0.7], TopKSoftmax(k=2, temperature=0.1))
    best = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(actual, torch.tensor([0, best, 0, 1 - best]))


@pytest.mark.parametrize("k", [1, 5, 40, 299, 300])
def test_top_k_equals_torch_topk(k):
    target, source = vectors(20), vectors(300, seed=1)
    values, columns = exact_similarities(target, source).topk(k, dim=1)
    expected = torch.zeros(20, 300, dtype=torch.float64).scatter_(1, columns, torch.softmax(values / 0.1, dim=1))
    actual = dense(sparse_weights(target, source, rule=TopKSoftmax(k))).double()
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_top_k_keeps_lower_columns_of_a_tie_and_all_columns_if_there_are_fewer():
    assert row([0.5, 0.8, 0.5, 0.5], TopKSoftmax(k=3)).nonzero().flatten().tolist() == [0, 1, 2]
    assert (row([0.5, 0.8], TopKSoftmax(k=10)) > 0).all()


# No way of computing it shows


@pytest.mark.parametrize("rule", [*map(Entmax, ALPHAS), Entmax(math.inf), TopKSoftmax(10), TopKSoftmax(200)], ids=str)
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_block_size_leaves_no_trace(rule, spread):
    """At spread 0 whole clusters tie; equal vectors must have equal similarities in every column of every block."""
    target, source = vectors(37, spread=spread), vectors(700, seed=1, spread=spread)
    whole = sparse_weights(target, source, rule=rule)
    for memory_budget in (500_000, 2_000_000):
        assert_same_bits(whole, sparse_weights(target, source, rule=rule, memory_budget=memory_budget))
    halves = [sparse_weights(part, source, rule=rule) for part in (target[:5], target[5:])]
    assert torch.equal(whole.values, torch.cat([half.values for half in halves]))
    assert torch.equal(whole.col_indices, torch.cat([half.col_indices for half in halves]))


@pytest.mark.parametrize("rule", [Entmax(1.5), Entmax(8.0), TopKSoftmax(3), TopKSoftmax(40)], ids=str)
@pytest.mark.parametrize("n_nearest", [0, 1, 11, 301])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_nearest_come_with_the_weights_and_leave_no_trace_in_them(rule, n_nearest, spread):
    target, source = vectors(50, seed=1, spread=spread), vectors(300, seed=2, spread=spread)
    for budget in (2**30, 2**18):
        weights, nearest = weights_and_nearest(target, source, rule=rule, n_nearest=n_nearest, memory_budget=budget)
        assert_same_bits(weights, sparse_weights(target, source, rule=rule))
        expected = exact_similarities(target, source).sort(dim=1, descending=True).values[:, :n_nearest]
        assert nearest.dtype == np.float32
        np.testing.assert_allclose(nearest, expected.numpy(), rtol=0, atol=1e-7)
        assert nearest.shape == (50, min(n_nearest, 300))


def test_small_budgets_really_make_small_blocks():
    done: list[int] = []
    budget = 4 * 4 * 704 * 3  # a quarter holds three rows of 700 columns
    sparse_weights(vectors(8), vectors(700), rule=Entmax(), memory_budget=budget, progress=done.append)
    assert done == [3, 6, 8]


@pytest.mark.parametrize("rule", [*map(Entmax, ALPHAS), TopKSoftmax(10)], ids=str)
def test_source_order_only_renames_columns(rule):
    target, source = vectors(25), vectors(700, seed=1)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(5))
    plain = sparse_weights(target, source, rule=rule)
    shuffled = sparse_weights(target, source[order], rule=rule)
    assert torch.equal(dense(plain)[:, order], dense(shuffled))


def test_thread_count_leaves_no_trace():
    target, source = vectors(300, 64), vectors(2000, 64, seed=1)
    before = torch.get_num_threads()
    results = []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            results.append([sparse_weights(target, source, rule=Entmax(alpha)) for alpha in (1.5, 4.0)])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        assert_same_bits(one, other)


def test_similarities_from_a_whole_product_have_the_bits_of_single_pairs():
    """The two ways of `_exact_similarities`; wide vectors, so that float64 sums do differ in their last bits."""
    target, source = vectors(40, 512), vectors(900, 512, seed=1)
    dots = module._pair_dots(target, source, torch.arange(40).repeat_interleave(900), torch.arange(900).repeat(40))
    assert not torch.equal(dots.view(40, 900), target.double() @ source.double().T)
    softmax = sparse_weights(target, source, rule=Entmax(1.0))
    assert torch.equal(softmax.similarities, dots.float())


def test_legacy_precision_and_autocast_are_neither_used_nor_changed():
    target, source = vectors(64, 256, spread=0.05), vectors(900, 256, seed=1, spread=0.05)
    expected = sparse_weights(target, source, rule=Entmax())
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")  # bfloat16 products where the processor has them
        rough = target @ source.T
        assert_same_bits(expected, sparse_weights(target, source, rule=Entmax()))
        assert torch.equal(target @ source.T, rough)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_bits(expected, sparse_weights(target, source, rule=Entmax()))
        assert (target @ source.T).dtype == torch.bfloat16


def test_backend_precision_is_neither_used_nor_changed(tmp_path):
    """In a process of its own: torch refuses to read its legacy switches once these are set."""
    target, source = vectors(64, 256, spread=0.05), vectors(900, 256, seed=1, spread=0.05)
    expected = sparse_weights(target, source, rule=Entmax())
    torch.save([target, source, expected.col_indices, expected.values], tmp_path / "case.pt")
    program = f"""
import torch
from sembridge.language_transfer.entmax import Entmax
from sembridge.language_transfer.similarity import sparse_weights, weights_and_nearest
target, source, columns, values = torch.load({str(tmp_path / "case.pt")!r})
torch.backends.mkldnn.matmul.fp32_precision = "bf16"
torch.backends.cuda.matmul.fp32_precision = "tf32"
rough = target @ source.T
actual = sparse_weights(target, source, rule=Entmax())
assert torch.equal(actual.col_indices, columns)
assert torch.equal(actual.values, values)
assert torch.equal(target @ source.T, rough)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_half_precision_vectors_are_widened():
    target, source = vectors(20).half(), vectors(300, seed=1).half()
    assert_same_bits(
        sparse_weights(target, source, rule=Entmax()), sparse_weights(target.float(), source.float(), rule=Entmax())
    )


def test_arguments_are_not_changed():
    target, source = vectors(20), vectors(300, seed=1)
    copies = target.clone(), source.clone()
    sparse_weights(target.requires_grad_(), source, rule=Entmax())
    assert torch.equal(target, copies[0])
    assert torch.equal(source, copies[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", [Entmax(1.5), Entmax(), TopKSoftmax()], ids=str)
def test_device_leaves_no_trace(rule):
    target, source = vectors(300, 256), vectors(5000, 256, seed=1)
    assert_same_bits(
        sparse_weights(target, source, rule=rule), sparse_weights(target, source, rule=rule, device="cuda")
    )


# Degenerate inputs


@pytest.mark.parametrize("rule", [*map(Entmax, ALPHAS), Entmax(math.inf), TopKSoftmax()], ids=str)
def test_one_column_takes_all(rule):
    weights = sparse_weights(vectors(5), vectors(1, seed=1), rule=rule)
    assert torch.equal(dense(weights), torch.ones(5, 1))


@pytest.mark.parametrize("rule", [*map(Entmax, ALPHAS), Entmax(math.inf), TopKSoftmax(1000)], ids=str)
def test_equal_columns_share_equally(rule):
    weights = sparse_weights(vectors(3), vectors(1, seed=1).repeat(1000, 1), rule=rule)
    torch.testing.assert_close(dense(weights), torch.full((3, 1000), 1e-3), atol=1e-9, rtol=0)
    assert len(weights.values.unique()) == 1


def test_a_duplicate_column_has_the_bits_of_its_twin():
    source = vectors(700, seed=1)
    weights = dense(sparse_weights(vectors(30), torch.cat([source, source]), rule=Entmax()))
    assert torch.equal(weights[:, :700], weights[:, 700:])


def test_a_target_that_is_a_source_token_gets_its_row_alone():
    source = vectors(500, seed=1, spread=3.0)
    weights = sparse_weights(source[100:110], source, rule=Entmax(64.0))
    assert weights.col_indices.tolist() == list(range(100, 110))
    assert torch.equal(weights.values, torch.ones(10))


def test_a_correction_per_source_token_is_one_more_dimension():
    target, source = with_cosines([0.8, 0.7])
    target, source = torch.cat([target, torch.ones(1, 1)], 1), torch.cat([source, torch.tensor([[-0.5], [0.0]])], 1)
    assert sparse_weights(target, source, rule=Entmax()).col_indices.tolist() == [1]


def test_no_target_rows_make_empty_weights():
    weights = sparse_weights(torch.zeros(0, 24), vectors(5), rule=Entmax())
    assert (weights.n_rows, weights.n_columns, len(weights.values)) == (0, 5, 0)
    assert weights.matmul(torch.ones(5, 2)).shape == (0, 2)


# Refusals


def spoiled(value: float) -> Tensor:
    broken = vectors(9)
    broken[3, 2] = value
    return broken


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": spoiled(math.nan)}, r"target_vectors row 3 is not finite"),
        ({"source": spoiled(-math.inf)}, r"source_vectors row 3 is not finite"),
        ({"source": vectors(9, 7)}, r"target_vectors are 24 wide, source_vectors 7; encode both"),
        ({"source": torch.zeros(0, 24)}, r"source_vectors are empty"),
        ({"target": torch.zeros(24)}, r"target_vectors are torch.float32 of shape \(24,\), expected"),
        ({"target": torch.zeros(2, 24, dtype=torch.int64)}, r"target_vectors are torch.int64 of shape"),
        ({"memory_budget": 0}, r"memory_budget is 0"),
        ({"rule": Entmax(1.0), "memory_budget": 1000}, r"keeps 9 source tokens a row.* raise memory_budget"),
        ({"rule": Entmax(1.1), "memory_budget": 1000}, r"keeps 9 source tokens a row.* raise memory_budget"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:40],
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    given = {"target": vectors(9), "source": vectors(9), "rule": Entmax(), "memory_budget": 2**20, **arguments}
    with pytest.raises(SembridgeError, match=message) as refusal:
        sparse_weights(given["target"], given["source"], rule=given["rule"], memory_budget=given["memory_budget"])
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_missing_device_is_refused():
    with pytest.raises(SembridgeError, match="finds no CUDA device"):
        sparse_weights(vectors(2), vectors(2), rule=Entmax(), device="cuda:0")


@pytest.mark.parametrize("alpha", [0.9, -1.0, math.nan])
def test_alpha_below_one_is_refused(alpha):
    with pytest.raises(SembridgeError, match="alpha is"):
        Entmax(alpha)


@pytest.mark.parametrize(("k", "temperature"), [(0, 0.1), (1, 0.0), (1, math.nan), (1, math.inf)])
def test_impossible_top_k_rules_are_refused(k, temperature):
    with pytest.raises(SembridgeError, match="TopKSoftmax"):
        TopKSoftmax(k, temperature)


# W itself


def triplets() -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([2, 0, 2]), torch.tensor([1, 3, 0]), torch.tensor([0.25, 1.0, 0.75])


def test_triplets_in_any_order_become_sorted_rows():
    rows, columns, values = triplets()
    weights = SparseWeights.from_rows(3, rows, columns, values, None, 4)
    assert weights.crow_indices.tolist() == [0, 1, 1, 3]
    assert weights.col_indices.tolist() == [3, 0, 1]
    assert weights.values.tolist() == [1.0, 0.75, 0.25]
    assert weights.similarities.isnan().all()
    assert weights.support_sizes().tolist() == [1, 0, 2]
    assert weights.row_ids().tolist() == [0, 2, 2]
    weights.validate(allow_empty_rows=True)
    with pytest.raises(SembridgeError, match="Row 1 of the weights sums to 0"):
        weights.validate()


def test_rows_taken_apart_and_rebuilt_are_the_same():
    weights = sparse_weights(vectors(30), vectors(400, seed=1), rule=Entmax())
    order = torch.randperm(len(weights.values), generator=torch.Generator().manual_seed(0))
    again = SparseWeights.from_rows(
        30,
        weights.row_ids()[order],
        weights.col_indices[order],
        weights.values[order],
        weights.similarities[order],
        400,
    )
    assert_same_bits(weights, again)


def test_a_place_given_twice_is_refused():
    with pytest.raises(SembridgeError, match="Row 1 of the weights names column 2 twice"):
        SparseWeights.from_rows(2, torch.tensor([1, 0, 1]), torch.tensor([2, 2, 2]), torch.ones(3), None, 3)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [([0, 2], [0, 0], "row_ids lie in 0..2"), ([0, 1], [-1, 0], "col_ids lie in -1..0"), ([0], [0, 1], "lengths")],
)
def test_malformed_triplets_are_refused(rows, columns, message):
    with pytest.raises(SembridgeError, match=message):
        SparseWeights.from_rows(2, torch.tensor(rows), torch.tensor(columns), torch.ones(2), None, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": torch.tensor([1.0, 0.75, -0.25])}, "not above zero"),
        ({"values": torch.tensor([1.0, 0.75, torch.nan])}, "not above zero"),
        ({"values": torch.tensor([1.0, 0.75, 0.75])}, "Row 2 of the weights sums to 1.5, expected 1"),
        ({"col_indices": torch.tensor([3, 1, 0])}, "do not ascend within 0..3"),
        ({"col_indices": torch.tensor([4, 0, 1])}, "do not ascend within 0..3"),
        ({"crow_indices": torch.tensor([0, 2, 1, 3])}, "crow_indices do not ascend"),
        ({"similarities": torch.zeros(2)}, "differ in length"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unsound_weights_do_not_validate(change, message):
    fields = {
        "crow_indices": torch.tensor([0, 1, 1, 3]),
        "col_indices": torch.tensor([3, 0, 1]),
        "values": torch.tensor([1.0, 0.75, 0.25]),
        "similarities": torch.zeros(3),
    }
    with pytest.raises(SembridgeError, match=message):
        SparseWeights(**{**fields, **change}, n_columns=4).validate(allow_empty_rows=True)


def test_matmul_is_the_dense_product_and_copies_single_weights():
    rows, columns, values = triplets()
    weights = SparseWeights.from_rows(3, rows, columns, values, None, 4)
    source_rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    product = weights.matmul(source_rows)
    torch.testing.assert_close(product, dense(weights) @ source_rows)
    assert torch.equal(product[0], source_rows[3])
    assert torch.equal(product[1], torch.zeros(5))
    assert torch.equal(weights.matmul(source_rows[:, :1]), product[:, :1])


def test_matmul_has_the_same_bits_for_any_thread_count():
    weights = sparse_weights(vectors(400), vectors(600, seed=1), rule=Entmax(1.5))
    source_rows = torch.randn(600, 96, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    products = []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            products.append(weights.matmul(source_rows))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*products)


@pytest.mark.parametrize("shape", [(3, 5), (4,), (4, 5, 1)])
def test_matmul_refuses_rows_of_another_vocabulary(shape):
    rows, columns, values = triplets()
    with pytest.raises(SembridgeError, match=r"the weights need \(4, d\)"):
        SparseWeights.from_rows(3, rows, columns, values, None, 4).matmul(torch.zeros(shape))
