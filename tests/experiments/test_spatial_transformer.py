"""The window is cut where it is asked for; what learns where to look, and what cannot; one whole run, tiny."""

import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import glyphs
import spatial_transformer
from punctum import ops


def test_a_digit_lies_where_its_place_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "FRAGMENTS", 0)
    pictures = glyphs.make_pictures(40, 64, (3,), "right")
    for image, place in zip(pictures.images.numpy(), pictures.places.numpy(), strict=True):
        rows, columns = np.nonzero(image > 100)
        middle = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2
        # A turned digit's box is not quite the turned box.
        assert np.abs(middle - place).max() < 2
    assert pictures.places[:, 0].min() >= 32
    again = glyphs.make_pictures.__wrapped__(40, 64, (3,), "right")
    assert torch.equal(pictures.images, again.images)


def test_the_window_is_a_plain_slice_where_it_lies_on_the_pixels() -> None:
    picture = torch.rand(1, 1, 20, 30)
    picture = F.pad(picture, (0, 0, 0, 10))  # Square, as `cut` expects.
    centre = ops.to_normalized(torch.tensor([[12.5, 9.5]]), (30, 30))
    window = spatial_transformer.cut(picture, centre, 8)
    torch.testing.assert_close(window[0, 0], picture[0, 0, 6:14, 9:17], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kind", "learns"), [("dsnt", True), ("fully_connected", True), ("argmax", False)])
def test_what_the_class_teaches_the_localisation(kind: str, learns: bool) -> None:
    model = spatial_transformer.SpatialTransformer(kind, 32, 12)
    if kind == "fully_connected":
        torch.nn.init.normal_(model.localisation.head[-2].weight)
    logits, coords, _ = model(torch.rand(4, 1, 32, 32), torch.zeros(4, 2))
    F.cross_entropy(logits, torch.arange(4)).backward()
    norm = spatial_transformer.gradient_norm(model.localisation)
    assert coords.requires_grad == learns
    assert norm is not None and norm > 0 if learns else norm is None
    assert spatial_transformer.gradient_norm(model.classifier) > 0


def test_a_tiny_run(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--size", "32", "--train", "32", "--test", "16", "--steps", "3", "--batch", "4", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", ["spatial_transformer.py", "--out", str(tmp_path), *words])
    spatial_transformer.main()
    found = json.loads((tmp_path / "spatial_transformer.json").read_text())
    assert found["results"]["oracle, trained on left"]["right distance"]["mean"] == pytest.approx(0, abs=1e-4)
    assert found["results"]["argmax, trained on left"]["gradient"] == [None, None]
    assert found["results"]["dsnt, trained on left"]["gradient"][0] > 0
    assert (tmp_path / "spatial_transformer.png").stat().st_size > 10_000
    assert "| dsnt, trained on left |" in capsys.readouterr().out
    cell = tmp_path / "cells" / "dsnt-left-seed0.json"
    written = cell.stat().st_mtime_ns
    spatial_transformer.main()
    assert cell.stat().st_mtime_ns == written
