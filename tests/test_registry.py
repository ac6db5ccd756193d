"""Finding heads and backbones, and what is said when there is none of that name."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from punctum import backbones, heads
from punctum.heads import Head
from punctum.registry import check_positive, find_classes, options_of

HEAD = """
from typing import final
from punctum.heads.base import Head

class Family(Head):
    name = "family"

@final
class {cls}(Family):
    {body}
    def __init__(self, in_channels, num_keypoints, size, *, sharp: bool = False): super().__init__()
    def forward(self, features): return features
    def losses(self, output, target): return {{}}
    def decode(self, output): return None
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "strange_heads"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("strange_heads")]:
        del sys.modules[name]


def write(folder: Path, file: str, cls: str, body: str) -> None:
    (folder / file).write_text(textwrap.dedent(HEAD).format(cls=cls, body=body))


def test_a_new_file_is_found_by_itself_and_abstract_classes_are_not(package: Path) -> None:
    write(package, "b.py", "Second", 'name = "second"')
    write(package, "a.py", "Zeroth", 'name = "zeroth"')
    found = find_classes("strange_heads", Head)
    assert list(found) == ["second", "zeroth"]
    assert list(options_of(found["second"])) == ["sharp"]


def test_two_of_one_name_are_refused(package: Path) -> None:
    write(package, "b.py", "Second", 'name = "same"')
    write(package, "a.py", "First", 'name = "same"')
    with pytest.raises(TypeError, match=r"strange_heads\.a and strange_heads\.b both define the name 'same'"):
        find_classes("strange_heads", Head)


def test_a_class_without_a_name_or_not_final_is_refused(package: Path) -> None:
    write(package, "a.py", "Nameless", "name = None")
    with pytest.raises(TypeError, match=r"strange_heads\.a\.Nameless must set `name` and be marked @typing.final"):
        find_classes("strange_heads", Head)
    write(package, "c.py", "Open", 'name = "open"')
    (package / "a.py").write_text((package / "c.py").read_text().replace("@final", ""))
    (package / "c.py").unlink()
    del sys.modules["strange_heads.a"]
    with pytest.raises(TypeError, match=r"Open must set `name` and be marked"):
        find_classes("strange_heads", Head)


def test_what_there_is() -> None:
    assert {"dsnt", "fully_connected", "heatmap"} <= heads.available().keys()
    assert list(heads.available()) == sorted(heads.available())
    assert {"resnet18", "resnet34", "resnet50", "resnet101"} <= backbones.available().keys()
    heads.available().clear()
    assert heads.available()


def test_unknown_names_are_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown head 'dsn': did you mean 'dsnt'") as caught:
        heads.build("dsn", 4, 2, (8, 8))
    assert all(name in str(caught.value) for name in heads.available())
    with pytest.raises(ValueError, match="unknown backbone 'resnet19': did you mean 'resnet1"):
        backbones.build("resnet19")
    with pytest.raises(ValueError, match=r"unknown head 'xyzzy'\. There are: "):
        heads.build("xyzzy", 4, 2, (8, 8))


def test_unknown_options_are_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="head 'dsnt' has no option 'regulariser': did you mean 'regularizer'"):
        heads.build("dsnt", 4, 2, (8, 8), regulariser="js")
    with pytest.raises(ValueError, match=r"head 'fully_connected' has no option 'sigma'\. There are: none"):
        heads.build("fully_connected", 4, 2, (8, 8), sigma=1.0)
    with pytest.raises(ValueError, match="'stride': did you mean 'output_stride'"):
        backbones.build("resnet18", stride=8)


@pytest.mark.parametrize(("args", "message"), [((0, 2, (8,)), "in_channels"), ((4, 0, (8,)), "num_keypoints")])
def test_impossible_sizes_are_refused(args: tuple[int, int, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} must be at least 1, got 0"):
        heads.build("dsnt", *args)
    for size in ((), (8, 0), (2, 2, 2, 2)):
        with pytest.raises(ValueError, match="size must be 1, 2 or 3 positive integers"):
            heads.build("dsnt", 4, 2, size)


@pytest.mark.parametrize("value", [-1, 0, True, "1", None, float("inf"), float("nan")])
def test_what_is_not_positive(value: object) -> None:
    with pytest.raises(ValueError, match="width must be a positive number"):
        check_positive("width", value)  # type: ignore[arg-type]
