import time

import pytest
import torch

from matryoshka_text.encoder.dtype import choose_dtype, decide_dtype

CPU = torch.device("cpu")


@pytest.fixture
def instructions(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What the CPU says it has."""
    found: dict[str, bool] = {"avx2": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    return found


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_what_is_asked_for_is_taken(asked: str, instructions: dict[str, bool]) -> None:
    assert decide_dtype(asked, CPU) == (asked, "asked for")


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "sve_bf16"])
def test_auto_is_bf16_if_the_cpu_has_instructions_for_it(name: str, instructions: dict[str, bool]) -> None:
    instructions[name] = False
    assert decide_dtype("auto", CPU).dtype == "float32"
    assert "none of amx_bf16" in decide_dtype("auto", CPU).reason
    instructions[name] = True
    assert decide_dtype("auto", CPU) == ("bf16", f"auto: the CPU has {name}")


def test_no_clock_has_a_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = choose_dtype("auto", CPU)
    for name in ("perf_counter", "monotonic", "time"):
        monkeypatch.setattr(time, name, lambda: pytest.fail("measured"))
    assert choose_dtype("auto", CPU) == expected


def test_another_kind_of_device_gets_float32() -> None:
    assert decide_dtype("auto", torch.device("mps")).dtype == "float32"
