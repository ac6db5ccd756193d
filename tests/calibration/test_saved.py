"""calibration.json: what comes back is what went in, and what is broken is named."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.cases import maps
from punctum.calibration import FILE, KINDS, Calibration, calibrate

CONTENT = {}


@pytest.fixture(scope="module")
def calibration():
    return calibrate(maps(30, 2, hidden=0.05), ("nose", "ear"), levels=(0.5, 0.8), within=0.07, normalizer="image")


def written(calibration):
    """Plain JSON, worked out once."""
    if not CONTENT:
        CONTENT.update(json.loads(json.dumps(calibration.to_dict(), allow_nan=False)))
    return copy.deepcopy(CONTENT)


def at(content, path):
    """What holds the last step of the path, and that step."""
    for step in path[:-1]:
        content = content[step]
    return content, path[-1]


def test_what_is_loaded_predicts_the_same_to_the_last_bit(calibration, tmp_path):
    path = calibration.save(tmp_path / "model")
    assert path == tmp_path / "model" / FILE
    assert [p.name for p in path.parent.iterdir()] == [FILE]
    loaded = Calibration.load(tmp_path / "model")
    assert loaded.to_dict() == calibration.to_dict()
    new = maps(5, 2, seed=9)
    one, two = (c.apply(new.prediction, new.to_image, new.lengths) for c in (calibration, loaded))
    assert torch.equal(one.score, two.score)
    assert torch.equal(one.flags.typical, two.flags.typical)
    for kind in KINDS:
        assert torch.equal(one.volume(kind, 0.8, joint=True), two.volume(kind, 0.8, joint=True))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format_version",), 2, "format_version is 2, and punctum .* reads 1"),
        (("names",), ["nose", "nose"], "names holds a name twice"),
        (("names",), [], "names is not a list of strings"),
        (("names",), ["nose"], r"images\.points has 2 entries, not 1"),
        (("dims",), 4, "dims is 4, not an integer within"),
        (("dims",), 3, r"spread\.floor\[0\] has 2 entries, not 3"),
        (("levels",), [0.8, 0.5], "levels must increase"),
        (("levels",), [0.5, 1.5], "levels must be within"),
        (("images", "fitted"), "many", r"images\.fitted is 'many', not an integer"),
        (("density", "temperature"), [1.0, float("nan")], r"density\.temperature\[1\] is nan, not a finite number"),
        (("density", "temperature"), [1.0, -1.0], r"density\.temperature must be within"),
        (("density", "temperature"), [1.0, True], r"density\.temperature\[1\] is True"),
        (("density", "temperature"), [[1.0], [1.0]], r"density\.temperature\[0\] is \[1\.0\], not a finite number"),
        (("density", "temperature"), 1.0, r"density\.temperature is 1\.0, not a list"),
        (("density", "centre_weight"), [1.0, 1.0], "more than 1 together"),
        (("density", "shape", 1), [[1.0, 2.0], [2.0, 1.0]], r"density\.shape must be symmetric, positive definite"),
        (("spread", "floor", 0), [[1.0, 0.5], [0.0, 1.0]], r"spread\.floor must be symmetric"),
        (("spread", "scale"), [-1.0, 1.0], r"spread\.scale must be within"),
        (("regions", "hdr", "bounds", 0), [0.5], r"regions\.hdr\.bounds\[0\] has 1 entries, not 2"),
        (("regions", "ball", "joint", 0, 1), -3, r"regions\.ball\.joint must be within"),
        (("score", "probability"), [2.0], r"score\.probability"),
        (("score", "normalizer"), None, r"score\.normalizer is None, not a string"),
        (("score", "within"), "near", r"score\.within is 'near', not a finite number"),
        (("flags", "log_spreads"), [], r"flags\.log_spreads has 0 entries"),
    ],
)
def test_a_wrong_entry_is_named_with_its_file(calibration, tmp_path, path, value, words):
    content = written(calibration)
    inner, key = at(content, path)
    inner[key] = value
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as error:
        Calibration.load(tmp_path)
    assert str(error.value).startswith(str(tmp_path / FILE))


def entries(content, path=()):
    """Paths of all that can be taken out or replaced."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from entries(value, (*path, key))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_missing_or_replaced_is_a_value_error_or_harmless(calibration, data):
    content = written(calibration)
    path = data.draw(st.sampled_from(list(entries(content))))
    inner, key = at(content, path)
    if data.draw(st.booleans()):
        del inner[key]
    else:
        inner[key] = data.draw(
            st.sampled_from([None, True, "x", -1, 0, 1e308, float("inf"), float("nan"), [], {}, [[[[1]]]], [None]])
        )
    try:
        calibration = Calibration.from_dict(content)
    except ValueError:
        return
    assert torch.isfinite(torch.cat([calibration.bounds[kind].flatten() for kind in KINDS])).all()


def test_every_entry_is_needed(calibration):
    """But the version of punctum, which nothing reads."""
    for path in [p for p in entries(written(calibration)) if all(isinstance(k, str) for k in p)]:
        content = written(calibration)
        inner, key = at(content, path)
        del inner[key]
        if path != ("punctum",):
            with pytest.raises(ValueError, match=str(path[-1])):
                Calibration.from_dict(content)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, '{"format_version": 1}'])
def test_a_file_that_is_something_else(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match=FILE):
        Calibration.load(tmp_path)


def test_no_file_says_what_writes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="punctum calibrate"):
        Calibration.load(tmp_path)
