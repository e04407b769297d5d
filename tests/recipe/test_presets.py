import pytest

from matryoshka_text.recipe.presets import log_dims


def test_halvings_down_to_eight_at_least() -> None:
    assert log_dims(384) == (12, 24, 48, 96, 192, 384)
    assert log_dims(768) == (12, 24, 48, 96, 192, 384, 768)
    assert log_dims(1024) == (8, 16, 32, 64, 128, 256, 512, 1024)
    assert log_dims(7) == (7,)


def test_no_width_is_refused() -> None:
    with pytest.raises(ValueError, match="width: found 0; allowed: at least 1"):
        log_dims(0)
