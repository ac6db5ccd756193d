"""Runs the conformance suite over every head there is."""

import pytest

from conformance import HeadConformance, TrainedHeadConformance, all_cases, default_cases


@pytest.mark.parametrize("case", all_cases(), ids=str)
class TestEveryHead(HeadConformance):
    pass


@pytest.mark.parametrize("case", default_cases(), ids=str)
class TestEveryTrainedHead(TrainedHeadConformance):
    pass
