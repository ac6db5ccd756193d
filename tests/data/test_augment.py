"""Draws are uniform in the ranges that were asked for, and wrong flip pairs do not go unnoticed."""

import numpy as np
import pytest
from scipy.stats import kstest, norm, uniform

from punctum.data import Augmentation
from punctum.data.augment import flip_notes
from punctum.schema import Schema


def test_draws_are_uniform_in_their_ranges() -> None:
    augmentation = Augmentation(flip=0.3, scale=0.25, rotation=30, shift=0.05, colour=0.4)
    rng = np.random.default_rng(0)
    drawn = [augmentation.draw(rng) for _ in range(5000)]
    assert np.mean([d.flip for d in drawn]) == pytest.approx(0.3, abs=0.03)
    columns = {
        "scale": ([d.scale for d in drawn], 0.75, 1.25),
        "rotation": ([d.rotation for d in drawn], -30, 30),
        "shift x": ([d.shift[0] for d in drawn], -0.05, 0.05),
        "shift y": ([d.shift[1] for d in drawn], -0.05, 0.05),
        **{f"colour {c}": ([d.colour[c] for d in drawn], 0.6, 1.4) for c in range(3)},
    }
    for name, (values, low, high) in columns.items():
        assert min(values) >= low - 1e-6, name
        assert max(values) <= high + 1e-6, name
        assert kstest(values, uniform(low, high - low).cdf).pvalue > 1e-3, name
    between = np.corrcoef([values for values, _, _ in columns.values()]) - np.eye(len(columns))
    assert np.abs(between).max() < 0.06


def test_one_setting_does_not_change_the_others_draw() -> None:
    one, other = (Augmentation(flip=f, scale=0.1).draw(np.random.default_rng(3)) for f in (0.0, 1.0))
    assert (one.flip, other.flip) == (False, True)
    assert (one.scale, one.rotation, one.shift) == (other.scale, other.rotation, other.shift)


def test_normal_draws_are_clipped_normal() -> None:
    """Newell's and Nibali's code: zoom 2^clip(N(0, .25), +-.5), turn clip(N(0, 30), +-60) in 40 % of the samples."""
    augmentation = Augmentation(distribution="normal", rotation_probability=0.4)
    rng = np.random.default_rng(0)
    drawn = [augmentation.draw(rng) for _ in range(8000)]
    octaves, turns = np.log2([d.scale for d in drawn]), np.array([d.rotation for d in drawn])
    turned = turns[turns != 0]
    assert len(turned) / len(turns) == pytest.approx(0.4, abs=0.02)
    for values, sd in ((octaves, 0.25), (turned, 30)):
        assert np.abs(values).max() == pytest.approx(2 * sd)
        # A clip puts what lies beyond at its ends; within, the values are normal.
        assert np.mean(np.abs(values) > 1.9999 * sd) == pytest.approx(2 * norm.cdf(-2), abs=0.008)
        within = values[np.abs(values) < 1.9999 * sd]
        assert kstest(within, _truncated(sd)).pvalue > 1e-3
        assert values.mean() == pytest.approx(0, abs=4 * sd / np.sqrt(len(values)))
        assert values.std() / sd == pytest.approx(_clipped_sd(), abs=0.03)
    # The rest stays as it was.
    plain = Augmentation()
    for seed in range(20):
        one, other = (a.draw(np.random.default_rng(seed)) for a in (augmentation, plain))
        assert (one.flip, one.shift) == (other.flip, other.shift)
        assert (one.colour == other.colour).all()
        assert np.sign(np.log2(one.scale)) == np.sign(other.scale - 1)


def _truncated(sd: float):
    low, high = norm.cdf(-2), norm.cdf(2)
    return lambda x: (norm.cdf(np.asarray(x) / sd) - low) / (high - low)


def _clipped_sd() -> float:
    """Standard deviation of a standard normal clipped at +-2, by quadrature."""
    x = np.linspace(-8, 8, 200_001)
    return float(np.sqrt(np.trapezoid(np.clip(x, -2, 2) ** 2 * norm.pdf(x), x)))


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(distribution="normal"),
        Augmentation(rotation_probability=0.0),
        Augmentation(0, 0, 0, 0, 0, "normal", 0.5),
    ],
)
def test_as_many_values_are_drawn_whatever_the_settings(augmentation: Augmentation) -> None:
    rng, other = np.random.default_rng(5), np.random.default_rng(5)
    augmentation.draw(rng)
    Augmentation(flip=0.9, rotation=5.0).draw(other)
    assert rng.random() == other.random()


def test_a_sample_that_is_not_turned_is_not_turned() -> None:
    rng = np.random.default_rng(0)
    assert {Augmentation(rotation_probability=0).draw(rng).rotation for _ in range(50)} == {0.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip": 1.5}, r"augmentation: flip must be between 0 and 1, got 1.5"),
        ({"scale": 1.0}, r"scale must be between 0 and 0.99, got 1.0"),
        ({"rotation": -3}, r"rotation must be between 0 and 180, got -3"),
        ({"shift": float("nan")}, r"shift must be between 0 and 1, got nan"),
        ({"colour": float("inf")}, r"colour must be between 0 and 1, got inf"),
        ({"rotation_probability": 1.1}, r"rotation_probability must be between 0 and 1, got 1.1"),
        ({"distribution": "cauchy"}, r"distribution must be uniform or normal, got 'cauchy'"),
        ({"flip": -1, "colour": 2}, r"flip must .*; colour must"),
    ],
)
def test_ranges_are_checked(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)


NAMES = ("nose", "left_eye", "right_eye", "LeftHand", "RightHand", "leftover")


@pytest.mark.parametrize(
    ("pairs", "notes"),
    [
        (((1, 2), (3, 4)), []),
        ((), ["there are no flip_pairs"]),
        (((1, 2),), ["'LeftHand' is in no flip pair", "'RightHand' is in no flip pair"]),
        (((1, 3), (2, 4)), ["'left_eye' is paired with 'LeftHand'", "'right_eye' ", "'LeftHand' ", "'RightHand' "]),
    ],
)
def test_flip_pairs_that_contradict_the_names(pairs, notes) -> None:
    found = flip_notes(Schema(NAMES, flip_pairs=pairs))
    assert len(found) == len(notes)
    for text, start in zip(found, notes, strict=True):
        assert text.startswith(start)
