from tools.pages.folder import grid


def test_a_grid_has_names_to_the_left_and_numbers_to_the_right() -> None:
    assert grid(["task", "4"], [["a|b", "1.00"]], names=1) == (
        "| task | 4 |\n| :--- | ---: |\n| a&#124;b | 1.00 |"
    )  # a bar would end the cell
