"""Runs the conformance suite over every head there is."""

import pytest

from conformance import (
    SIZES,
    GraphHeadConformance,
    HeadCase,
    HeadConformance,
    TrainedHeadConformance,
    all_cases,
    default_cases,
)


def slow_but_one(case: HeadCase) -> object:
    """Graphs are looked at in 2-D with each head's defaults; other sizes and options are for those who wait."""
    first = case.size == SIZES[1] and not case.options
    return pytest.param(case, id=str(case), marks=[] if first else pytest.mark.slow)


@pytest.mark.parametrize("case", all_cases(), ids=str)
class TestEveryHead(HeadConformance):
    pass


@pytest.mark.parametrize("case", default_cases(), ids=str)
class TestEveryTrainedHead(TrainedHeadConformance):
    pass


@pytest.mark.parametrize("case", [slow_but_one(case) for case in all_cases()])
class TestEveryHeadsGraph(GraphHeadConformance):
    pass
