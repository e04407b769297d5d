import pytest
import torch

from matryoshka_text.encoder import dtype


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """What was measured for one test is not believed in the next."""
    dtype._measured.cache_clear()


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_what_is_asked_for_is_not_measured(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtype, "speed_of_bf16", lambda _: pytest.fail("measured"))
    assert dtype.choose_dtype(asked, torch.device("cpu")) == asked


@pytest.mark.parametrize(("speed", "chosen"), [(0.2, "float32"), (1.29, "float32"), (1.31, "bf16"), (2.5, "bf16")])
def test_auto_follows_the_measurement(speed: float, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtype, "speed_of_bf16", lambda _: speed)
    assert dtype.choose_dtype("auto", torch.device("cpu")) == chosen


def test_it_is_measured_once_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.device] = []
    monkeypatch.setattr(dtype, "speed_of_bf16", lambda device: calls.append(device) or 2.0)
    for _ in range(3):
        dtype.choose_dtype("auto", torch.device("cpu"))
    assert len(calls) == 1


def test_the_measurement_is_a_ratio() -> None:
    assert 0.01 < dtype.speed_of_bf16(torch.device("cpu"), rounds=1) < 100
