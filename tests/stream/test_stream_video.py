"""Frames as the file has them: upright, at their times, with what is damaged named."""

from pathlib import Path

import numpy as np
import pytest

from films import film, picture, turned
from punctum.stream.video import Video, read_video

ONE, W = 1 << 16, 1 << 30
NOISE = [np.random.default_rng(i).integers(0, 255, (96, 128, 3), dtype=np.uint8) for i in range(60)]


def test_frames_come_in_order_at_the_times_of_the_file(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).integers(7, 90, 25)).tolist()
    path = film(tmp_path / "a.mkv", [picture(i) for i in range(25)], times=times)
    items = list(read_video(path))
    assert [item.frame for item in items] == list(range(25))
    assert [item.image for item in items][:2] == [f"{path}#0", f"{path}#1"]
    assert np.allclose([item.time for item in items], np.array(times) / 1000)
    for i, item in enumerate(items):
        assert np.array_equal(item.picture, picture(i))
    later = list(Video(path).items(start=20))
    assert [item.frame for item in later] == [20, 21, 22, 23, 24]
    assert np.array_equal(later[0].picture, picture(20))


# A camera on its side: ISO 14496-12 maps the frame's (x, y) to (a x + c y, b x + d y).
@pytest.mark.parametrize(
    ("matrix", "quarters"),
    [
        ((0, ONE, 0, -ONE, 0, 0, 0, 0, W), -1),  # x goes down, y to the left: with the clock
        ((0, -ONE, 0, ONE, 0, 0, 0, 0, W), 1),
        ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, W), 2),
    ],
)
def test_rotation_flags_are_followed(matrix: tuple[int, ...], quarters: int, tmp_path: Path) -> None:
    path = turned(film(tmp_path / "a.mp4", [picture(0)]), matrix)
    (item,) = read_video(path)
    assert np.array_equal(item.picture, np.rot90(picture(0), quarters))


def test_odd_sizes_and_deep_pixels_are_kept(tmp_path: Path) -> None:
    odd = film(tmp_path / "odd.mp4", [picture(0, (47, 65))])
    assert next(iter(read_video(odd))).picture.shape == (47, 65, 3)
    deep = np.random.default_rng(0).integers(0, 65535, (48, 64), dtype=np.uint16)
    (item,) = read_video(film(tmp_path / "deep.mkv", [deep], codec="ffv1", pixels="gray16le"))
    assert item.picture.dtype == np.uint16
    assert np.abs(item.picture[..., 0].astype(int) - deep).max() <= 1


def test_a_file_that_is_cut_off_says_so_behind_its_last_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", NOISE[:20], container={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    *good, last = read_video(path)
    assert 5 < len(good) < 15
    assert not any(item.error for item in good)
    assert "should hold 20 frames" in last.error
    assert last.image == f"{path}#{len(good)}"


def test_a_damaged_frame_keeps_its_number(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", NOISE, codec="libx264", pixels="yuv420p", options={"crf": "30", "g": "5"})
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + len(content) // 2
    content[middle : middle + 3000] = bytes(np.random.default_rng(0).integers(0, 255, 3000, dtype=np.uint8))
    path.write_bytes(content)
    items = list(read_video(path))
    assert [item.frame for item in items] == list(range(len(items)))
    assert len(items) == 60
    bad = [item for item in items if item.error]
    assert 0 < len(bad) < 20
    assert all(item.picture is None for item in bad)


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0\0\0\x20ftypisom"])
def test_what_is_no_video_is_one_item_with_the_reason(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    (item,) = read_video(tmp_path / "a.mp4")
    assert "cannot be opened as a video" in item.error
    assert item.frame is None
    assert Video(tmp_path / "a.mp4").count is None


def test_a_video_without_frames_says_so(tmp_path: Path) -> None:
    (item,) = read_video(film(tmp_path / "a.mp4", []))
    assert item.error == "there is no video in this file"


def test_a_video_may_have_as_many_pixels_as_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.mp4", [picture(0)])
    monkeypatch.setenv("PUNCTUM_MAX_PIXELS", "3000")
    (item,) = read_video(path)
    assert item.error == "64 x 48 px are more than the 3,000 pixels that are allowed; PUNCTUM_MAX_PIXELS allows more"


def test_a_later_frame_may_have_no_more_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a bare stream the size may change at any key frame."""
    size = (480, 640)
    first = film(tmp_path / "1.h264", [picture(i) for i in range(100)])
    parts = [first, film(tmp_path / "2.h264", [picture(0, size)] * 2)]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert [item.error or item.picture.shape[:2] for item in read_video(path)] == [(48, 64)] * 100 + [size] * 2
    monkeypatch.setenv("PUNCTUM_MAX_PIXELS", "10000")
    assert [bool(item.error) for item in read_video(path)] == [False] * 100 + [True] * 2


def test_a_name_is_never_an_address(tmp_path: Path) -> None:
    content = film(tmp_path / "a.mp4", [picture(0)]).read_bytes()
    (tmp_path / "concat:a.mp4").write_bytes(content)
    (item,) = read_video(tmp_path / "concat:a.mp4")
    assert not item.error


def test_a_list_of_files_is_no_video(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", [picture(0)])
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    (item,) = read_video(tmp_path / "b.mp4")
    assert "a list of other files" in item.error


def test_a_last_frame_that_is_cut_within_its_data_is_told(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [picture(i) for i in range(6)], container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-200])
    items = list(read_video(path))
    assert [bool(item.error) for item in items] == [*[False] * 5, True]
    assert "holds data of 6 frames, of which 5 come out" in items[-1].error
