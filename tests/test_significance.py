"""Paired tests agree with scipy and with counting by hand; Holm's correction with its definition."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sembridge.errors import SembridgeError
from sembridge.retrieval.significance import compare, compare_all, holm


def per_query(values: list[float], measure: str = "nDCG@10") -> dict[str, dict[str, float]]:
    return {measure: {f"q{number}": value for number, value in enumerate(values)}}


def test_comparison_by_hand() -> None:
    result = compare(per_query([0.0, 0.5, 1.0, 0.3]), per_query([1.0, 0.5, 0.8, 0.4]))["nDCG@10"]
    assert (result.wins, result.ties, result.losses, result.n_queries) == (2, 1, 1, 4)
    assert (result.baseline_mean, result.system_mean) == pytest.approx((0.45, 0.675))
    assert result.difference == pytest.approx(0.225)
    changes = [(change.query_id, change.baseline, change.system) for change in result.largest_changes]
    assert changes == [("q0", 0.0, 1.0), ("q2", 1.0, 0.8), ("q3", 0.3, 0.4)]
    json.dumps(result.to_dict())


def test_permutation_p_is_exact_for_few_queries() -> None:
    before, after = [0.1, 0.4, 0.5, 0.3, 0.9], [0.3, 0.9, 0.4, 0.8, 1.0]
    differences = np.subtract(after, before)
    flips = [abs(np.dot(signs, differences)) for signs in itertools.product([1, -1], repeat=5)]
    expected = np.mean([flip >= abs(differences.sum()) - 1e-12 for flip in flips])
    assert compare(per_query(before), per_query(after))["nDCG@10"].p_permutation == pytest.approx(expected)


def test_random_flips_agree_with_scipy_on_many_queries() -> None:
    draw = np.random.default_rng(3)
    before = draw.random(60)
    after = before + draw.normal(0.03, 0.15, 60)
    expected = stats.permutation_test(
        (after - before,), np.sum, permutation_type="samples", n_resamples=9999, vectorized=True, rng=draw
    ).pvalue
    found = compare(per_query(list(before)), per_query(list(after)))["nDCG@10"].p_permutation
    assert 0.01 < expected < 0.5
    assert found == pytest.approx(expected, abs=0.02)


def test_permutation_and_t_agree_on_many_queries() -> None:
    generator = np.random.default_rng(0)
    before = generator.random(300)
    after = before + generator.normal(0.02, 0.2, 300)
    result = compare(per_query(before.tolist()), per_query(after.tolist()))["nDCG@10"]
    # 1e-6: differences are rounded to 9 decimals
    assert result.p_t == pytest.approx(stats.ttest_rel(after, before).pvalue, abs=1e-6)
    # three standard errors of 9,999 resamples at p = .1
    assert result.p_permutation == pytest.approx(result.p_t, abs=0.01)


def test_p_values_are_functions_of_the_seed() -> None:
    generator = np.random.default_rng(1)
    before, after = per_query(generator.random(50).tolist()), per_query(generator.random(50).tolist())
    first, again, other = (compare(before, after, seed=seed)["nDCG@10"].p_permutation for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.1]])
def test_no_difference_has_p_of_one(values: list[float]) -> None:
    result = compare(per_query(values), per_query(values))["nDCG@10"]
    assert (result.p_permutation, result.p_t, result.p_holm, result.ties) == (1.0, 1.0, 1.0, len(values))
    assert result.largest_changes == ()


def test_one_query_proves_nothing() -> None:
    result = compare(per_query([0.0]), per_query([1.0]))["nDCG@10"]
    assert (result.p_permutation, result.p_t, result.wins) == (1.0, 1.0, 1)


def test_the_same_gain_on_every_query() -> None:
    result = compare(per_query([0.1, 0.2, 0.3]), per_query([0.2, 0.3, 0.4]))["nDCG@10"]
    assert result.p_t == 0.0
    assert result.p_permutation == 0.25  # 2 of 8 sign flips are as extreme
    assert [change.query_id for change in result.largest_changes] == ["q0", "q1", "q2"]  # ties by id


def test_the_number_of_changes_shown_is_a_choice() -> None:
    result = compare(per_query([0.0] * 9), per_query([0.1 * n for n in range(9)]), n_changes=2)["nDCG@10"]
    assert [change.query_id for change in result.largest_changes] == ["q8", "q7"]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_raw = [adjusted[position] for position in np.argsort(p_values, kind="stable")]
    assert by_raw == sorted(by_raw)


def test_holm_covers_all_systems_and_measures_of_a_call() -> None:
    generator = np.random.default_rng(2)
    measures = ("nDCG@10", "R@100")
    baseline, first, second = (
        {measure: {f"q{n}": value for n, value in enumerate(generator.random(40))} for measure in measures}
        for _ in range(3)
    )
    compared = compare_all(baseline, {"first": first, "second": second})
    flat = [comparison for by_measure in compared.values() for comparison in by_measure.values()]
    assert len(flat) == 4
    assert [comparison.p_holm for comparison in flat] == holm([comparison.p_permutation for comparison in flat])


def test_only_common_measures_are_compared() -> None:
    both = per_query([0.1, 0.2]) | per_query([1.0, 1.0], "RR@10")
    assert compare(both, per_query([0.1, 0.2])).keys() == {"nDCG@10"}
    with pytest.raises(SembridgeError, match=r"No measure in common: one has RR@10, the other nDCG@10"):
        compare(per_query([1.0], "RR@10"), per_query([1.0]))
    with pytest.raises(SembridgeError, match="the other none"):
        compare(per_query([1.0]), {})


def test_different_queries_are_refused() -> None:
    with pytest.raises(SembridgeError, match="2 queries, the other 3, 2 in common"):
        compare(per_query([0.1, 0.2]), per_query([0.1, 0.2, 0.3]))
    with pytest.raises(SembridgeError, match="0 queries"):
        compare({"AP": {}}, {"AP": {}})
