"""History: plain data, by row and by column."""

import math

import numpy as np
import pytest

from needle.training import History
from needle.training.history import table

ROWS = [
    {"epoch": 1, "loss": 1.5, "lr": 0.1, "seconds": 0.25},
    {"epoch": 2, "loss": 0.000123456, "val_loss": 123456.0, "lr": 0.1, "seconds": 0.5},
]


def test_columns_keep_the_order_in_which_they_appear():
    history = History(ROWS)
    assert history.columns == ["epoch", "loss", "lr", "seconds", "val_loss"]
    assert history["epoch"] == [1, 2]
    assert len(history) == 2


def test_a_column_that_a_row_lacks_is_nan_there():
    first, second = History(ROWS)["val_loss"]
    assert math.isnan(first)
    assert second == 123456.0


def test_an_unknown_column_is_named():
    with pytest.raises(KeyError, match=r"no column 'acc'; there are epoch, loss"):
        History(ROWS)["acc"]


def test_an_empty_history_is_still_one():
    assert len(History()) == 0
    assert bool(History()) is True
    assert History().rows is not History().rows


def test_text_is_a_table():
    lines = str(History(ROWS)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["epoch", "loss", "lr", "seconds", "val_loss"]
    assert lines[1].split() == ["1", "1.500", "0.1000", "0.2500", "-"]
    assert lines[2].split() == ["2", "0.0001235", "0.1000", "0.5000", "1.235e+05"]


def test_table_aligns_to_the_right():
    assert table([["a", "bcd"], ["10", "2"]]) == " a  bcd\n10    2"


def test_plot_draws_each_curve_and_the_best_epoch():
    figures = pytest.importorskip("matplotlib.figure")
    rows = [{"epoch": i, "loss": 1.0 / i, "val_loss": 2.0 / i, "accuracy": 0.5} for i in (1, 2, 3)]
    figure = figures.Figure()
    loss, accuracy = History(rows, best_epoch=2).plot(figure)
    assert figure.axes == [loss, accuracy]
    assert [line.get_label() for line in loss.lines] == ["training", "validation", "best epoch"]
    assert [line.get_label() for line in accuracy.lines] == ["training", "best epoch"]
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2.0, 1.0, 2 / 3])
    assert list(loss.lines[2].get_xdata()) == [2, 2]
    assert History().plot(figures.Figure()) == []


def test_plot_makes_one_figure_that_pyplot_knows():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    (loss,) = History([{"epoch": 1, "loss": 1.0}]).plot()
    assert [pyplot.figure(number).axes for number in pyplot.get_fignums()] == [[loss]]
    pyplot.close("all")
