"""Easy, medium and hard at their limits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from punctum.data import Annotations
from punctum.metrics import difficulty, instance_areas
from punctum.schema import Schema


def annotated(visibility: NDArray[np.int64], sides: list[float] | None = None) -> Annotations:
    n, k = visibility.shape
    sides = [100.0] * n if sides is None else sides
    return Annotations(
        Schema(tuple(f"k{i}" for i in range(k))),
        (Path("x.png"),) * n,
        ("x.png",) * n,
        np.zeros((n, k, 2)),
        visibility.astype(np.int8),
        np.array([[0.0, 0.0, side / 2, side] for side in sides]),
        tuple(map(str, range(n))),
        Path("x.json"),
    )


def counts(*pairs: tuple[int, int], k: int = 17) -> NDArray[np.int64]:
    """Rows with so many labelled points, so many of them hidden."""
    return np.array([[1] * hidden + [2] * (labelled - hidden) + [0] * (k - labelled) for labelled, hidden in pairs])


def test_joints_of_seventeen_as_in_the_paper() -> None:
    levels = difficulty(annotated(counts(*((n, 0) for n in range(18)))), "joints")
    assert levels.tolist() == ["", *["hard"] * 5, *["medium"] * 5, *["easy"] * 7]


@pytest.mark.parametrize(
    ("k", "hard", "easy"),
    # 5/17 and 10/17 of K: 10 and 20 of 34; 4.1 and 8.2 of 14; 0.9 and 1.8 of 3; 0.3 and 0.6 of 1.
    [(34, 10, 21), (14, 4, 9), (3, 0, 2), (1, 0, 1)],
)
def test_joints_of_another_number_by_the_same_shares(k: int, hard: int, easy: int) -> None:
    levels = difficulty(annotated(counts(*((n, 0) for n in range(1, k + 1)), k=k)), "joints").tolist()
    assert levels == ["hard"] * hard + ["medium"] * (easy - hard - 1) + ["easy"] * (k - easy + 1)


def test_occlusion() -> None:
    rows = counts((10, 0), (11, 1), (10, 1), (9, 1), (10, 5), (10, 6), (1, 1), (0, 0))
    assert difficulty(annotated(rows), "occlusion").tolist() == [
        *["easy", "easy", "medium", "medium", "medium", "hard", "hard", ""]
    ]


def test_size_is_the_longer_side_of_the_box() -> None:
    sides = [31.9, 32, 63.9, 64, 128, 128.1, np.nan]
    levels = difficulty(annotated(counts(*[(5, 0)] * 7), sides), "size")
    assert levels.tolist() == ["", "hard", "hard", "medium", "medium", "easy", ""]


def test_size_of_a_volumes_box_does_not_count_its_place() -> None:
    flat = annotated(counts((5, 0)))
    boxes = np.array([[0.0, 0.0, 500.0, 40.0, 50.0, 60.0]])  # At depth 500, 60 voxels deep.
    volume = replace(flat, keypoints=np.zeros((1, 17, 3)), boxes=boxes)
    assert difficulty(volume, "size").tolist() == ["hard"]
    assert instance_areas(volume).isnan().all()


def test_another_criterion_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown criterion 'colour': choose joints, occlusion, size"):
        difficulty(annotated(counts((1, 0))), "colour")  # type: ignore[arg-type]
