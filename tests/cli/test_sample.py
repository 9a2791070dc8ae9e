# SPDX-License-Identifier: Apache-2.0
"""The sample trains a real model: run directly, as a job would, without the platform."""
import collections
import csv
import os
import shutil
import subprocess

import pytest

import mantik


@pytest.fixture
def sample(tmp_path):
    shutil.copytree(mantik.SAMPLE, tmp_path / "sample")
    return tmp_path / "sample"


def train(sample, *options, check=True, name="run"):
    run_dir = sample / name
    r = subprocess.run(["/usr/bin/python3", "-I", "-c",  # -I: nothing but the standard library
                        "import sys; sys.path.insert(0, '.'); sys.argv = sys.argv[1:]; "
                        "exec(open(sys.argv[0]).read())", "train.py",
                        "--epochs", "2", *options], cwd=sample, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       env={"MANTIK_RUN_DIR": str(run_dir), "PATH": os.environ["PATH"],
                            "PYTHONDONTWRITEBYTECODE": "1"})
    if check:
        assert r.returncode == 0, r.stderr
    return r, run_dir


def test_predictions_beat_the_majority_class(sample):
    train(sample, "--learning-rate", "0.05")
    with open(sample / "predictions.csv") as f:
        rows = list(csv.DictReader(f))
    digits = collections.Counter(row["digit"] for row in rows)
    majority = digits.most_common(1)[0][1] / len(rows)
    accuracy = sum(row["digit"] == row["predicted"] for row in rows) / len(rows)
    assert len(rows) == 397 and len(digits) == 10
    assert accuracy >= majority + 0.20
    assert (sample / "model.json").stat().st_size > 10000


def test_one_point_per_epoch_of_each_metric(sample):
    _, run_dir = train(sample, "--learning-rate", "0.05")
    for key in ("loss", "accuracy"):
        lines = (run_dir / "metrics" / key).read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["1", "2"]
    assert (run_dir / "params" / "train_images").read_text() == "1400\n"
    assert (run_dir / "tags" / "data_sha256").exists()


def test_same_parameters_same_metrics_another_rate_others(sample):
    _, first = train(sample, "--learning-rate", "0.05", name="first")
    _, again = train(sample, "--learning-rate", "0.05", name="again")
    _, other = train(sample, "--learning-rate", "0.01", name="other")
    loss = [(d / "metrics" / "loss").read_text() for d in (first, again, other)]
    assert loss[0] == loss[1] != loss[2]


@pytest.mark.parametrize("size", [0, 1000, 57000])
def test_truncated_data_makes_it_fail(sample, size):
    os.truncate(sample / "data" / "digits.csv.gz", size)
    r, run_dir = train(sample, "--learning-rate", "0.05", check=False)
    assert r.returncode == 1
    assert "damaged or incomplete" in r.stderr
    assert not (run_dir / "metrics").exists()


def test_evaluate_reads_the_model_back(sample):
    r, _ = train(sample, "--learning-rate", "0.05")
    e = subprocess.run(["/usr/bin/python3", "-B", "evaluate.py", "--model", "model.json"],
                       cwd=sample, text=True, stdout=subprocess.PIPE, check=True)
    assert e.stdout.split()[1] == r.stdout.split()[-1]
