import numpy as np
import pytest

from matryoshka_text.dims import check_dims, log_dims, out_of_order


def test_halvings_down_to_eight_at_least() -> None:
    assert log_dims(384) == (12, 24, 48, 96, 192, 384)
    assert log_dims(768) == (12, 24, 48, 96, 192, 384, 768)
    assert log_dims(1024) == (8, 16, 32, 64, 128, 256, 512, 1024)
    assert log_dims(7) == (7,)


def test_no_width_is_refused() -> None:
    with pytest.raises(ValueError, match="width: found 0; allowed: at least 1"):
        log_dims(0)


def test_dims_that_increase_come_back_as_plain_integers() -> None:
    checked = check_dims([np.int64(4), 8], 8)
    assert checked == (4, 8)
    assert [type(dim) for dim in checked] == [int, int]
    assert check_dims([4, 10**6]) == (4, 10**6)


@pytest.mark.parametrize("dims", [(), (0, 4), (4, 4), (8, 4), (4, 16), (True, 4), (4.0, 8), ("4",)])
def test_other_dims_are_refused(dims: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"dims.*allowed are integers from 1 to 8, each above the one before"):
        check_dims(dims, 8)


def test_only_numbers_are_compared() -> None:
    assert list(out_of_order([4, "x", 2, 8, 8, True, 1])) == [(4, 8, 8)]
