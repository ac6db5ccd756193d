"""A small run and ten pictures."""

from pathlib import Path

import pytest
from small_run import save_model


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("ray") / "run", 0)


@pytest.fixture(scope="session")
def pictures(scenes: Path) -> list[Path]:
    return sorted((scenes / "images").glob("*.png"))[:10]
