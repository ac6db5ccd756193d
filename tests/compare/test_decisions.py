"""What is decided without training: epochs, rates, the recommendation."""

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punctum.compare.plan import Load, Speed, cell_seconds, epochs_for, makespan, most_epochs
from punctum.compare.recommend import cheapest, pareto_front, recommend
from punctum.compare.request import Request, Variant, cell_name, differences, variant_settings
from punctum.compare.tuning import Trial, best, rate_beyond
from punctum.data import DataError, read, split
from punctum.data.parts import write_part
from punctum.settings import TrainSettings

SETTINGS = TrainSettings("train.json", "out")
LOAD = Load(320, 32, 64, 320, 32, 64, batch=32)


def entry(title, value, ms=10.0, parameters=1e6, seeds=True):
    return {
        "title": title,
        "value": value,
        "interval_95": [value - 0.01, value + 0.01],
        "over_seeds": seeds,
        "cost": None if ms is None else {"picture_ms": ms, "parameters": parameters},
    }


def group(best_title, **told):
    rows = [
        {"title": title, "difference": 0.02, "interval": [-0.01, 0.05], "told_apart": apart}
        for title, apart in told.items()
    ]
    return {"best": best_title, "against_best": rows}


def test_best_is_recommended_where_all_others_are_worse():
    advice = recommend([entry("a", 0.1, 20), entry("b", 0.2, 5)], group("a", b=True), "nme")
    assert (advice["title"], advice["candidates"]) == ("a", ["a"])
    assert advice["sentences"][1] == "It has the lowest error, and every other one can be told from it."
    assert advice["sentences"][2] == "Worse than a: b by 2.00 %, -1.00 % to 5.00 %."


def test_cheapest_of_those_that_cannot_be_told_apart():
    entries = [entry("a", 0.1, 20), entry("b", 0.12, 5), entry("c", 0.13, 9), entry("d", 0.5, 1)]
    advice = recommend(entries, group("a", b=False, c=False, d=True), "nme")
    assert advice["title"] == "b"
    text = " ".join(advice["sentences"])
    assert "the two cannot be told apart (difference 2.00 %, -1.00 % to 5.00 %)" in text
    assert "it takes 20.0 ms a picture instead of 5.0" in text
    assert "Nor can c be told from the best." in text


def test_among_equally_fast_ones_the_smallest_then_the_best():
    assert cheapest([entry("a", 0.1, 10.2, 2e6), entry("b", 0.2, 10.0, 1e6)], higher=False) == "b"
    assert cheapest([entry("a", 0.1, 10.2, 1.01e6), entry("b", 0.2, 10.0, 1e6)], higher=False) == "a"
    assert cheapest([entry("a", 0.1, 10.2, 1e6), entry("b", 0.2, 10.0, 1e6)], higher=True) == "b"


def test_without_costs_the_best_is_recommended():
    assert recommend([entry("a", 0.1, None), entry("b", 0.2, None)], group("a", b=False), "nme")["title"] == "a"


def test_one_head_and_one_seed_are_said_to_be():
    advice = recommend([entry("a", 0.9, seeds=False)], group("a"), "pck@0.5")
    assert "No other head has a result" in advice["sentences"][1]
    assert "--seeds 3" in advice["sentences"][2]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8), st.booleans())
def test_pareto_front_by_brute_force(points, higher):
    entries = [entry(str(i), float(value), float(ms)) for i, (ms, value) in enumerate(points)]
    sign = -1 if higher else 1

    def beaten(i):
        return any(
            points[j][0] <= points[i][0] and sign * points[j][1] <= sign * points[i][1] and points[j] != points[i]
            for j in range(len(points))
        )

    front = {points[int(title)] for title in pareto_front(entries, higher)}
    assert front == {points[i] for i in range(len(points)) if not beaten(i)}


@given(st.lists(st.floats(0.1, 9), max_size=7), st.integers(1, 4))
def test_makespan_is_within_what_any_schedule_takes(seconds, jobs):
    took = makespan(seconds, jobs)
    assert took >= max([sum(seconds) / jobs, *seconds]) - 1e-9
    assert took <= sum(seconds) + 1e-9
    if jobs == 2:
        shares = itertools.product((0, 1), repeat=len(seconds))
        least = min(
            max(sum(s for s, side in zip(seconds, share, strict=True) if side == j) for j in (0, 1))
            for share in shares
        )
        assert took <= 1.5 * least + 1e-9  # Graham's bound for list scheduling


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0, 2000))
def test_most_epochs_by_counting(start, each, available):
    found = most_epochs(lambda epochs: start + each * epochs, available)
    fitting = [epochs for epochs in range(1, 30000) if start + each * epochs <= available][-1:]
    assert found == (fitting or [1])[0]


def test_every_training_set_gets_the_same_steps():
    small, tiny_set = replace(LOAD, train=128), replace(LOAD, train=20)
    assert epochs_for(100, LOAD) * LOAD.steps_per_epoch == 100
    assert epochs_for(100, small) * small.steps_per_epoch == 100
    assert (tiny_set.steps_per_epoch, epochs_for(100, tiny_set)) == (1, 100)


def test_validation_of_many_short_epochs_is_counted():
    speed = Speed(start=0, step=1, picture=0)
    few, many = cell_seconds(speed, LOAD, 10), cell_seconds(speed, replace(LOAD, train=32), 100)
    assert many > few + 25


def test_ties_keep_the_default_rate():
    trials = [Trial(0.1, "cosine", 1.0), Trial(0.3, "cosine", 0.995), Trial(0.9, "cosine", None)]
    assert best(trials, 0.1, "cosine") == trials[0]
    assert best([*trials, Trial(2.7, "cosine", 0.98)], 0.1, "cosine").lr == 2.7
    assert best([trials[2]], 0.1, "cosine") is None
    assert rate_beyond(trials[:2], trials[0]) == pytest.approx(0.1 / 3)


def test_heads_keep_their_own_settings_in_every_cell():
    settings = replace(SETTINGS, max_images=7, max_epochs=3)
    chosen = variant_settings(settings, Variant("dsnt", 8, 512), 4, 30, {"lr": 0.5, "schedule": "cosine"})
    assert chosen.backbone["output_stride"] == 8
    assert (chosen.seed, chosen.max_epochs, chosen.max_images, chosen.budget) == (4, 30, 512, None)
    assert (chosen.optimizer.lr, chosen.optimizer.schedule) == (0.5, "cosine")


def test_no_two_cells_share_a_name():
    request = Request({"dsnt": SETTINGS, "rle": SETTINGS}, strides=(16, 8), sizes=(0, 64))
    names = [cell_name(variant, seed) for variant in request.variants() for seed in request.seed_numbers]
    assert len(names) == len(set(names)) == 24
    assert [variant.size for variant in request.variants()] == [0] * 4 + [64] * 4


def test_where_it_runs_is_no_part_of_a_request():
    one = Request({"dsnt": SETTINGS}).to_dict()
    hardware = replace(SETTINGS.hardware, accelerator="gpu", workers=3)
    assert list(differences(Request({"dsnt": replace(SETTINGS, out="b", hardware=hardware)}).to_dict(), one)) == []
    assert list(differences(Request({"dsnt": replace(SETTINGS, batch_size=8)}).to_dict(), one)) == [
        "heads.dsnt.batch_size was 32, now 8"
    ]
    assert json.loads(json.dumps(one)) == one


def test_parts_of_annotations_are_read_like_any_file(scenes, tmp_path):
    whole = read(scenes / "train.json")
    train, test = split(whole, 0.25, seed=3)
    for name, part in (("train", train), ("test", test)):
        found = read(write_part(tmp_path / f"{name}.json", part, scenes / "train.json"))
        assert found.ids == part.ids
        assert found.images == part.images
        assert found.keypoints == pytest.approx(part.keypoints, nan_ok=True)
        assert found.source == tmp_path / f"{name}.json"
    (tmp_path / "gone.json").write_text(
        (tmp_path / "test.json").read_text().replace(test.image_names[0], "nowhere.png")
    )
    with pytest.raises(DataError, match=r"has no image 'nowhere.png' any more"):
        read(tmp_path / "gone.json")
    (tmp_path / "broken.json").write_text('{"part_of": 3')
    with pytest.raises(DataError, match="is no part of annotations"):
        read(tmp_path / "broken.json")
