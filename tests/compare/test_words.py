"""What is typed: heads, and words that `punctum train` knows."""

import pytest

from punctum.cli_compare import parse_compare
from punctum.compare.specs import DEFAULT_HEADS, parse_heads


def parse(*words):
    return parse_compare(["train.json", "--out", "dir", *words])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dnst", r"unknown head 'dnst': did you mean 'dsnt'\?"),
        ("dsnt,heatmpa", "did you mean 'heatmap'"),
        ("dsnt:sigma=2,heatmpa", "did you mean 'heatmap'"),
        ("dsnt:sigmma=2", r"head 'dsnt' has no option 'sigmma': did you mean 'sigma'\?"),
        ("dsnt:sigma", r"'sigma' needs a value, as in dsnt:option=value"),
        ("dsnt,rle,dsnt", "dsnt stands there twice"),
        (" , ", "no head to compare"),
    ],
)
def test_mistakes_in_heads_are_named(text, said):
    with pytest.raises(ValueError, match=said):
        parse_heads(text)


def test_heads_keep_what_was_typed():
    dsnt, oks = parse_heads("dsnt:reg-weight=0.5:regularizer=kl, oks:sigmas=[0.1,0.2]")
    assert (dsnt.label, dsnt.options) == (
        "dsnt:reg-weight=0.5:regularizer=kl",
        (("reg_weight", "0.5"), ("regularizer", "kl")),
    )
    assert oks.options == (("sigmas", "[0.1,0.2]"),)


def test_options_have_their_types_and_are_checked_by_the_head():
    request, out, jobs = parse("--heads", "dsnt:sigma=2,oks:loss=log")
    assert request.heads["dsnt:sigma=2"].head["sigma"] == 2.0
    assert (str(out), jobs) == ("dir", 0)
    with pytest.raises(ValueError, match=r"'dsnt:sigma=-1': sigma must be a positive number, got -1.0"):
        parse("--heads", "rle,dsnt:sigma=-1")


@pytest.mark.parametrize("word", ["sigma=wide", "regularizer=klx"])
def test_a_value_of_another_type_is_wrong_usage(word, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--heads", f"dsnt:{word}")
    assert stop.value.code == 2
    assert f"head.{word.partition('=')[0]}" in capsys.readouterr().err


def test_defaults():
    request, _, _ = parse()
    assert list(request.heads) == [spec.label for spec in parse_heads(DEFAULT_HEADS)]
    assert len(request.heads) == 6
    assert (request.seeds, request.budget, request.max_epochs, request.sizes) == (3, 45, None, (0,))
    assert request.tune


def test_words_of_train_reach_every_head():
    request, _, _ = parse("--heads", "dsnt,rle", "--backbone.width", "0.25", "--lr=0.01", "--input-size", "96")
    for settings in request.heads.values():
        assert settings.backbone["width"] == 0.25
        assert settings.optimizer.lr == 0.01
        assert settings.crop.input_size == (96, 96)


def test_epochs_take_the_budgets_place():
    request, _, _ = parse("--max-epochs", "7")
    assert (request.max_epochs, request.budget) == (7, None)
    with pytest.raises(ValueError, match="not both"):
        parse("--max-epochs", "7", "--budget", "3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--head", "dsnt"), "heads are named by --heads"),
        (("--resume",), "goes on by itself"),
        (("--max-images", "5"), "--train-sizes"),
        (("--backbone.output_stride=8",), "--output-strides"),
        (("--output-strides", "8,x"), "not a list of whole numbers"),
        (("--train-sizes", "8,8"), "different positive numbers"),
        (("--metric", "pck"), "pck@THRESHOLD"),
        (("--metric", "pck@-1"), "pck@THRESHOLD"),
        (("--thresholds", "a"), "not a list of numbers"),
        (("--test-fraction", "1"), "between 0 and 1"),
        (("--seeds", "0"), "at least 1"),
        (("--jobs", "-1"), "must not be negative"),
        (("--budget", "-2"), "positive number of minutes"),
        (("stray",), "DATA stands first"),
    ],
)
def test_mistakes_are_named(words, said):
    with pytest.raises(ValueError, match=said):
        parse("--heads", "dsnt", *words)


def test_unknown_words_are_refused_by_trains_own_parser(capsys):
    with pytest.raises(SystemExit):
        parse("--heads", "dsnt", "--lrr", "3")
    assert "lrr" in capsys.readouterr().err
