"""Which pictures to label next, from how unsure a model is of each and how alike they look to it: arrays alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Pictures that may be chosen, the most doubtful ones, and pictures that a choice is judged by: the distances between
# them are kept.
CANDIDATES, JUDGES = 2000, 20000


@dataclass(frozen=True, eq=False)
class Choice:
    """Pictures in the order of their choice.

    Args:
        order: (n,) positions in the pool.
        novelty: (n,) distance to the nearest one that was labelled or chosen by then, in usual distances: the median
            over the pool of the distance to the nearest other picture. NaN where there was none.
        nearest: (n,) position of that one: below zero of the labelled ones (-1 the first), else of the pool.
        similar: (n,) pictures of the pool, itself included, that no other chosen or labelled one is nearer to.
    """

    order: Index
    novelty: Array
    nearest: Index
    similar: Index


def choose(doubt: Array, features: Array, n: int, labelled: Array | None = None) -> Choice:
    """Pictures that stand for as much of the model's doubt as possible: greedy weighted medoids.

        each turn takes the picture c with the largest  sum_j u_j max(0, m_j - |f_j - f_c|^2)

    where u_j is the doubt of a picture of the pool, its expected squared error; f_j are its features, each divided by
    its standard deviation; and m_j is the squared distance to the nearest picture that is labelled or chosen. So a
    picture wins that many doubtful ones are like, and no known one is; its copy wins nothing any more. Turn by turn,
    this reaches at least 1 - 1/e of what the best n pictures would.

    Args:
        doubt: (N,), not negative.
        features: (N, C).
        n: how many to choose.
        labelled: (M, C) features of pictures that are labelled already.
    Raises:
        ValueError: n is not within 1 and N; a number is not finite.
    Source:
        Nemhauser, Wolsey and Fisher 1978 (greedy choice, 1 - 1/e); Sener and Savarese 2018, arXiv:1708.00489 (what to
        label as a core set of features; there by the largest distance, without doubt).
    Example:
        >>> choose(np.ones(4), np.array([[0.0], [0.1], [5.0], [5.0]]), 2).order
        array([1, 2])
    """
    known = np.zeros((0, features.shape[1])) if labelled is None or not len(labelled) else labelled
    if not 1 <= n <= len(doubt):
        raise ValueError(f"n must be within 1 and the {len(doubt)} pictures there are, got {n}")
    if not (np.isfinite(doubt).all() and np.isfinite(features).all() and np.isfinite(known).all()):
        raise ValueError("doubt and features must be finite")
    scale = features.std(axis=0)
    features, known = (values / np.where(scale > 0, scale, 1.0) for values in (features, known))
    # The most doubtful first: where nothing is won any more, the next one is taken.
    candidates = np.argsort(-doubt, kind="stable")[: max(CANDIDATES, n)]
    order = candidates[_greedy(doubt, features, candidates, known, n)]
    return _explained(order, features, known)


def _greedy(doubt: Array, features: Array, candidates: Index, known: Array, n: int) -> list[int]:
    """Positions among the candidates."""
    judges = np.arange(len(doubt))
    if len(judges) > JUDGES:
        judges = np.sort(np.random.default_rng(0).permutation(len(doubt))[:JUDGES])
    apart = squared_distances(features[candidates], features[judges])
    missing = squared_distances(features[judges], known).min(1) if len(known) else np.full(len(judges), apart.max())
    taken: list[int] = []
    for _ in range(n):
        won = np.maximum(missing - apart, 0.0) @ doubt[judges]
        won[taken] = -1.0
        taken.append(int(won.argmax()))
        missing = np.minimum(missing, apart[taken[-1]])
    return taken


def _explained(order: Index, features: Array, known: Array) -> Choice:
    """Why each was chosen, in numbers that a person can follow."""
    others = squared_distances(features, features[:JUDGES])
    np.fill_diagonal(others, np.inf)
    usual = float(np.sqrt(np.median(others.min(1)))) if len(features) > 1 else 0.0
    to_known = squared_distances(features, known)
    to_chosen = squared_distances(features, features[order])
    novelty, nearest = np.full(len(order), np.nan), np.zeros(len(order), dtype=np.int64)
    for turn, i in enumerate(order):
        distances = np.concatenate([to_known[i], to_chosen[i, :turn]])
        if len(distances):
            at = int(distances.argmin())
            novelty[turn] = np.sqrt(distances[at]) / (usual or 1.0)
            nearest[turn] = order[at - len(known)] if at >= len(known) else -1 - at
    both = np.concatenate([to_known, to_chosen], axis=1)
    similar = np.bincount(both.argmin(1), minlength=both.shape[1])[len(known) :]
    return Choice(order, novelty, nearest, similar)


def squared_distances(a: Array, b: Array) -> NDArray[np.float32]:
    """(len(a), len(b)), exactly zero for equal rows only up to rounding."""
    a, b = a - a.mean(0), b - a.mean(0)
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(square, 0.0).astype(np.float32)
