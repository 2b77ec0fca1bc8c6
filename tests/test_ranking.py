"""Top-k and MAP@k against scikit-learn and against a literal loop of the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score

from dsresearch.statistics.ranking import mean_average_precision, top_k_wrong


def drawn(seed: int, n: int = 20, classes: int = 9) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    relevant = draws.random((n, classes)) < 0.3
    relevant[np.arange(n), draws.integers(classes, size=n)] = True  # no picture without a class
    return draws.normal(size=(n, classes)), relevant


def literal(scores: np.ndarray, relevant: np.ndarray, k: int, weights: np.ndarray) -> float:
    """A loop over pictures and ranks (Chollet 2017, section 4.1: the first k predictions, each class weighted)."""
    precisions = []
    for own, has in zip(scores, relevant, strict=True):
        ranked = sorted(range(len(own)), key=lambda c: -own[c])[:k]
        found, total = 0, 0.0
        for rank, c in enumerate(ranked, start=1):
            if has[c]:
                found += 1
                total += weights[c] * found / rank
        best = sum(sorted((weights[c] for c in range(len(own)) if has[c]), reverse=True)[:k])
        precisions.append(total / best)
    return sum(precisions) / len(precisions)


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_map_at_k_is_its_definition(seed: int, k: int) -> None:
    scores, relevant = drawn(seed)
    weights = np.random.default_rng(seed + 1).uniform(0.1, 5.0, 9)
    found = mean_average_precision(scores, relevant, k, weights)
    assert found == pytest.approx(literal(scores, relevant, k, weights), abs=1e-12)


@given(st.integers(0, 10**6))
def test_map_of_all_classes_is_scikit_learns(seed: int) -> None:
    scores, relevant = drawn(seed)
    found = mean_average_precision(scores, relevant, k=100)
    assert found == pytest.approx(label_ranking_average_precision_score(relevant, scores), abs=1e-12)


def test_map_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6]])
    relevant = np.array([[True, False, True, True]])  # precisions 1, 2/3, 3/4
    assert mean_average_precision(scores, relevant, 100) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert mean_average_precision(scores, relevant, 2) == pytest.approx(1 / 2)  # of two classes at best
    weights = np.array([1.0, 7.0, 3.0, 0.0])
    assert mean_average_precision(scores, relevant, 100, weights) == pytest.approx((1 + 3 * 2 / 3) / 4)


def test_a_perfect_ranking_is_one_whatever_the_weights() -> None:
    _, relevant = drawn(0)
    weights = np.random.default_rng(1).uniform(0.1, 5.0, 9)
    assert mean_average_precision(relevant + 0.0 * weights, relevant, 100, weights) == pytest.approx(1.0)


def test_pictures_without_a_weighted_class_do_not_count() -> None:
    scores, relevant = drawn(3)
    bare = np.vstack([relevant, np.zeros((1, 9), bool)])
    with_one_more = mean_average_precision(np.vstack([scores, scores[:1]]), bare, 100)
    assert with_one_more == mean_average_precision(scores, relevant, 100)
    with pytest.raises(ValueError, match="no picture has a class"):
        mean_average_precision(scores, np.zeros_like(relevant), 100)
    with pytest.raises(ValueError, match="do not fit"):
        mean_average_precision(scores, relevant[:, :3], 100)


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_top_k_is_scikit_learns(seed: int, k: int) -> None:
    scores, _ = drawn(seed)
    labels = np.random.default_rng(seed + 2).integers(9, size=20)
    right = top_k_accuracy_score(labels, scores, k=k, labels=range(9), normalize=False)
    assert top_k_wrong(scores, labels, k) == 20 - right
