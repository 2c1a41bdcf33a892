"""The names of run folders, and what may be written into them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from needle.cli.run_folder import MetricsFile, load_model, new_folder, newest_folder
from needle.errors import ArgumentError, DataError
from needle.training import History, Run
from tests.cli.runs import train


def test_takes_the_first_free_number(here):
    assert new_folder(None, "digits").as_posix() == "runs/digits-001"
    assert new_folder(None, "digits").as_posix() == "runs/digits-002"
    (here / "runs" / "digits-001").rmdir()
    assert new_folder(None, "digits").as_posix() == "runs/digits-001"
    assert new_folder(None, "mnist").as_posix() == "runs/mnist-001"


def test_runs_that_start_at_once_get_folders_of_their_own(here):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(None, "digits"), range(40)))
    assert len(set(folders)) == 40


def test_a_folder_of_the_users_choice_is_made(here):
    folder = new_folder(here / "a" / "b", "digits")
    assert folder == here / "a" / "b"
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    assert new_folder(folder, "digits") == folder  # it holds no run


@pytest.mark.parametrize("file", ["config.json", "checkpoint.safetensors", "model.safetensors"])
def test_a_folder_that_holds_a_run_is_refused(here, file):
    (here / file).write_bytes(b"")
    with pytest.raises(ArgumentError, match="holds a run; continue it with --resume"):
        new_folder(here, "digits")


def test_the_newest_run_is_the_one_whose_model_came_last(here, data):
    with pytest.raises(DataError, match=r"no finished run in .*runs; start one with: needle train"):
        newest_folder()
    train("--data", data, "--epochs", 1)
    (here / "runs" / "zzz").mkdir()  # not finished
    assert newest_folder().as_posix() == "runs/data-001"


def test_the_model_is_rebuilt_from_its_file_alone(here, data):
    train("--data", data, "--norm", "layer", "--hidden", 6, "--out", here / "run")
    (here / "run" / "config.json").unlink()
    trained = load_model(here / "run")
    assert trained.about == {"shape": [2, 3], "classes": 3, "maximum": 255}
    assert trained.options.hidden == 6
    assert "LayerNorm1d 3" in repr(trained.model)


def test_metrics_leave_a_cell_empty_where_there_is_no_number(here):
    file = MetricsFile(here / "metrics.csv")
    run = Run(None, None, None, None, epochs=2, samples=1)
    file.begin(run)
    run.history = History([{"epoch": 1, "loss": 0.1, "lr": 1e-5, "seconds": 2.0}])
    file.after_epoch(run)
    header = "epoch,loss,accuracy,val_loss,val_accuracy,lr,seconds\n"
    assert file.path.read_bytes().decode() == header + "1,0.1,,,,1e-05,2.0\n"
