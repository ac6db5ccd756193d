"""Points of a stream, piece by piece: where they are, what is skipped, and that no interruption changes them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from films import BlobFinder, film, picture, place
from punctum.points import Points, Trust
from punctum.predict import Predictor
from punctum.predict_reading import AHEAD, READERS, load_ahead
from punctum.stream.boxes import own_box
from punctum.stream.items import Item, Pictures
from punctum.stream.journal import HEADER, Journal
from punctum.stream.predicting import Entry, Piece, predicted
from punctum.stream.records import from_bytes, joined, to_bytes
from punctum.stream.run import piece_size, predict_sources
from punctum.stream.video import Video, read_video

FRAMES = 30


@pytest.fixture
def finder() -> Predictor:
    return Predictor(BlobFinder(), "cpu", 2, fuse=False)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "a.mp4", [picture(i) for i in range(FRAMES)])


def test_a_video_is_followed(finder: Predictor, video: Path) -> None:
    found = list(finder.stream(read_video(video)))
    assert [p.frame for p in found] == list(range(FRAMES))
    assert found[3].image == f"{video}#3"
    assert found[3].time == pytest.approx(0.12)
    assert np.allclose([p.keypoints[0] for p in found], [place(i) for i in range(FRAMES)], atol=0.05)


def test_a_stream_of_pictures_is_as_predict_has_them(finder: Predictor, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(5))
    images = [tmp_path / "a.png", picture(7), picture(9)]
    whole, streamed = finder.predict(images), list(finder.stream(iter(images)))
    assert [p.image for p in streamed] == [p.image for p in whole] == [str(tmp_path / "a.png"), "array 1", "array 2"]
    assert np.array_equal([p.keypoints for p in streamed], [p.keypoints for p in whole])
    with pytest.raises(ValueError, match=r"^array 1: has shape \(3,\)"):
        list(finder.stream([picture(0), np.zeros(3)]))
    reasons: list[str] = []
    left = list(finder.stream([picture(0), "none.png", np.zeros(3), picture(1)], on_error=reasons.append))
    assert [p.image for p in left] == ["array 0", "array 3"]
    assert reasons[0] == "none.png: there is no such file"
    assert reasons[1].startswith("array 2: has shape")


def test_a_detector_gives_instances(finder: Predictor) -> None:
    image = np.concatenate([picture(0), picture(20)], 1)

    def halves(pixels: np.ndarray) -> list[list[float]]:
        return [[0, 0, 64, 48], [64, 0, 64, 48]] if pixels.shape[1] == 128 else []

    found = list(finder.stream([image, picture(3), image], boxes=halves))
    assert [(p.image, p.instance) for p in found] == [(f"array {i}", n) for i in (0, 2) for n in ("0", "1")]
    assert np.allclose(found[1].keypoints[0], np.add(place(20), (64, 0)), atol=0.1)
    with pytest.raises(TypeError, match="detector returns boxes"):
        list(finder.stream([image], boxes=lambda pixels: [[1, 2]]))


def test_batches_never_mix_keys(finder: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = finder.batch_points
    monkeypatch.setattr(
        finder, "batch_points", lambda batch, *a: (sizes.append(len(batch[0])), original(batch, *a))[1]
    )
    items = [(i // 5, Item(f"{i}", picture(i))) for i in range(12)]
    keys = [key for key, _ in predicted(finder, items)]
    assert keys == [0, 0, 0, 1, 1, 1, 2]
    assert sizes == [2, 2, 1, 2, 2, 1, 2]


def test_no_more_is_held_than_what_may_wait() -> None:
    drawn: list[int] = []
    loaded = threading.Event()

    def items() -> Iterator[int]:
        for i in range(1000):
            drawn.append(i)
            yield i

    def pairs(found: Iterator[int]) -> Iterator[list[int]]:
        while len(batch := [i for i, _ in zip(found, range(2), strict=False)]) == 2:
            yield batch

    batches = load_ahead(items(), lambda i: i, pairs)
    next(batches)
    loaded.wait(0.1)
    # Two in use, those of the batches that wait and of the one submitted next, and what the readers have.
    assert len(drawn) <= 3 * (2 + AHEAD) + READERS + 1
    batches.close()


def trust(n: int) -> Trust:
    rng = np.random.default_rng(n)
    flags = {name: rng.random((n, 1)) > 0.5 for name in ("wide", "two", "flat")}
    radius, factor, area = rng.random((3, n, 1, 2))
    return Trust((0.5, 0.9), radius, factor, area, flags, rng.random(n))


def piece(n: int) -> Piece:
    rng = np.random.default_rng(n)
    points = Points(
        keypoints=rng.random((n, 1, 2)),
        score=rng.random((n, 1)),
        covariance=None,
        to_image=rng.random((n, 3, 3)),
        image_sizes=np.full((n, 2), 7),
        trust=trust(n),
        places=np.full((n, 1, 3, 2), np.nan),
        mass=rng.random((n, 1, 3)),
    )
    entries = [Entry(f"ä {i}", "b", np.arange(4.0), frame=i, time=i / 3) for i in range(n)]
    return Piece([*entries, Entry("c", error="broken", found=False)], points)


@pytest.mark.parametrize("kept", [piece(3), Piece([Entry("c", error="broken", found=False)], None), Piece([], None)])
def test_pieces_come_back_to_the_bit(kept: Piece) -> None:
    back, state = from_bytes(to_bytes(kept, "as it was"))
    assert state == "as it was"
    assert to_bytes(back, state) == to_bytes(kept, state)
    assert [(e.image, e.frame, e.time, e.error, e.found) for e in back.entries] == [
        (e.image, e.frame, e.time, e.error, e.found) for e in kept.entries
    ]
    if kept.points is not None and back.points is not None and kept.points.trust and back.points.trust:
        assert np.array_equal(back.points.trust.radius, kept.points.trust.radius)
        assert back.points.trust.levels == (0.5, 0.9)
        assert back.points.covariance is None
    assert len(joined([kept, kept]).entries) == 2 * len(kept.entries)


def test_no_contents_are_refused_that_are_not_a_piece() -> None:
    for content in (b"", b"no zip", to_bytes(piece(1), "")[:100]):
        with pytest.raises(ValueError):
            from_bytes(content)


class Killed(BaseException):
    pass


def run(finder: Predictor, journal: Journal, sources: list[object], die_after: int | None = None) -> list[bytes]:
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        if die_after is not None and done > die_after:
            raise Killed

    predict_sources(finder, sources, journal, boxes=own_box, on_error=lambda _: None, advance=advance)
    return [to_bytes(p, "") for i in range(len(sources)) for p in journal.pieces(i)]


def test_interrupted_anywhere_it_comes_to_the_same(finder: Predictor, video: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(18)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), picture(i))
    paths[5].write_bytes(b"broken")
    sources = [Pictures(paths), Video(video)]
    whole = run(finder, Journal(tmp_path / "whole", {}), sources)
    assert piece_size(finder) == 8
    assert len(whole) == 3 + 4
    for step in (1, 7, 11, 17):
        deaths = 0
        # A piece is kept when the next one begins; short of that, nothing is, and the last try is left alone.
        for tries in range(12):
            try:
                found = run(finder, Journal(tmp_path / f"parts{step}", {}), sources, None if tries == 11 else step)
                break
            except Killed:
                deaths += 1
        assert deaths > 0
        assert found == whole


def test_what_changed_is_predicted_again(finder: Predictor, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path in paths:
        cv2.imwrite(str(path), picture(0))
    journal = Journal(tmp_path / "parts", {})
    before = run(finder, journal, [Pictures(paths)])
    (tmp_path / "parts" / "0000-end").unlink()
    cv2.imwrite(str(paths[9]), np.roll(picture(0), 3, axis=1))
    after = run(finder, Journal(tmp_path / "parts", {}), [Pictures(paths)])
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_a_journal_refuses_other_settings_in_words(tmp_path: Path) -> None:
    Journal(tmp_path / "parts", {"model": "a", "batch size": 4})
    assert Journal(tmp_path / "parts", {"model": "a", "batch size": 4}).begun
    with pytest.raises(
        ValueError, match=r"batch size was 4, is 8; flip test was not given, is True.*remove the folder"
    ):
        Journal(tmp_path / "parts", {"model": "a", "batch size": 8, "flip test": True})
    (tmp_path / "parts" / ".0000-0000000.part.npz").write_bytes(b"half")
    journal = Journal(tmp_path / "parts", {"model": "a", "batch size": 4})
    assert journal.done() == 0
    journal.write(0, 0, piece(2), "s")
    assert journal.has(0, 0, "s")
    assert not journal.has(0, 0, "t")
    assert not journal.has(0, 1, "s")
    assert (journal.folder / HEADER).is_file()
    journal.remove()
    assert not journal.folder.exists()
