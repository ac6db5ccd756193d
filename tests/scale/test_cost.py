"""Hours, gigabytes and prices, against the same by hand."""

import pytest

from punctum.scale.cost import cost, main


def test_a_million_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    found = cost(1_000_000, 100, workers=4, efficiency=0.5, points=10, bytes_per_point=50, price=2)
    # 10,000 s of one worker; four of them at half their speed take 5,000 s, and are paid for 20,000 s.
    assert found.core_hours == pytest.approx(10_000 / 3600)
    assert found.hours == pytest.approx(5_000 / 3600)
    assert found.price == pytest.approx(2 * 20_000 / 3600)
    assert found.gigabytes == pytest.approx(0.5)
    main(["--rate", "100", "--workers", "4", "--efficiency", "0.5", "--price", "2"])
    assert "2.8 hours of one worker; 1.39 hours on 4" in (said := capsys.readouterr().out)
    assert "price: 11.11" in said


@pytest.mark.parametrize("wrong", [{"images": 0}, {"rate": -1}, {"workers": 0}, {"efficiency": float("nan")}])
def test_nothing_costs_nothing(wrong: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        cost(**{"images": 10, "rate": 1.0, **wrong})  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        main(["--rate", "1", f"--{name}", str(wrong[name])])
    assert "must be above 0" in capsys.readouterr().err or name == "workers"
