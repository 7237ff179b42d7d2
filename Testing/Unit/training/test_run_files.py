"""What a training run leaves on disk when it is killed: its log, its state, its weights."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch
from killed_processes import DIED, dying, temporaries
from small_networks import TINY_EMBEDDED
from torch.optim.optimizer import register_optimizer_step_post_hook

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.embedded import read_network, save_network
from FewShotSAMLib.models.embedded_network import EmbeddedNetwork
from FewShotSAMLib.training.embedded import Length, Stage, Training, train
from FewShotSAMLib.training.run_log import append_row, keep_rows
from FewShotSAMLib.training.trained_file import write_trained
from FewShotSAMLib.weights.resources import sha256_of

ROOT = Path(__file__).resolve().parents[3]


def logged(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split()


def test_a_log_goes_on_from_the_step_that_was_kept(tmp_path):
    log = tmp_path / "log.csv"
    for step in (10, 20, 30):
        append_row(log, {"step": step, "loss": step / 10})
    keep_rows(log, 20)
    append_row(log, {"step": 25, "loss": 2.5})
    assert logged(log) == ["step,loss", "10,1.0", "20,2.0", "25,2.5"]
    keep_rows(log, 0)
    assert not list(tmp_path.iterdir()), "a run that begins has no rows"


@pytest.mark.parametrize("torn", ["", "st", "step,loss", "step,loss\r\n10,1.0\r\n2", "\0\xff,,,\n"])
def test_a_log_that_was_torn_is_mended(tmp_path, torn):
    """As earlier versions, which added to the file, could leave it."""
    log = tmp_path / "log.csv"
    log.write_bytes(torn.encode("latin-1"))
    keep_rows(log, 10)
    append_row(log, {"step": 11, "loss": 1.1})
    rows = logged(log)
    assert rows[0] == "step,loss" and rows[-1] == "11,1.1"
    assert rows[1:-1] in ([], ["10,1.0"], ["10,1.0", "2,"])


class Stopped(KeyboardInterrupt):
    """Ctrl-C at the worst moment."""


def test_a_run_that_is_cut_short_within_a_step_keeps_what_it_had(tmp_path):
    """After the weights have moved, and before that counts as a step."""
    start = tmp_path / "tiny.safetensors"
    save_network(EmbeddedNetwork(TINY_EMBEDDED), start, {})
    run = Training("cpu", 0, TINY_EMBEDDED)
    run.one_step(Stage(1.0, 64, 2), 1e-3)
    run.save(tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()

    def stop(*_):
        raise Stopped

    hook = register_optimizer_step_post_hook(stop)
    try:
        with pytest.raises(Stopped):
            train(Length(steps=1000), "cpu", 0, tmp_path, start=start)
    finally:
        hook.remove()
    assert (tmp_path / "run.pt").read_bytes() == before


def provenance(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def test_a_network_and_its_provenance_are_of_one_another(tmp_path):
    path = tmp_path / "w.safetensors"
    for value in (1.0, 2.0):
        torch.manual_seed(int(value))
        saved = partial(save_network, EmbeddedNetwork(TINY_EMBEDDED), provenance={})
        write_trained(path, saved, {"value": value})
        read_network(path)
        assert provenance(path) == {"file": path.name, "sha256": sha256_of(path), "value": value}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.json", "w.safetensors"]


def test_weights_that_cannot_be_written_leave_the_earlier_ones(tmp_path):
    path = tmp_path / "w.safetensors"
    write_trained(path, lambda file: file.write_bytes(b"earlier"), {})

    def fail(weights: Path) -> None:
        weights.write_bytes(b"half")
        raise InputError(f"{weights}: cannot be written (the disk is full)")

    with pytest.raises(InputError) as problem:
        write_trained(path, fail, {})
    assert str(problem.value) == f"{path}: cannot be written (the disk is full)"
    assert path.read_bytes() == b"earlier" and provenance(path)["sha256"] == sha256_of(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.json", "w.safetensors"]


WRITER = """
import sys
from pathlib import Path
from FewShotSAMLib.training.trained_file import write_trained
write_trained(Path(sys.argv[1]), lambda file: file.write_bytes(sys.argv[2].encode()), {})
"""


def test_a_kill_before_any_change_leaves_no_provenance_of_other_weights(tmp_path):
    (tmp_path / "writer.py").write_text(WRITER, encoding="utf-8")
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "w.safetensors"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    seen = set()
    for changes in range(100):
        write_trained(path, lambda file: file.write_bytes(b"earlier"), {})
        command = dying(changes, folder, "writer", path, "new")
        status = subprocess.run(command, env=environment, timeout=120).returncode
        there = path.with_suffix(".json").exists()
        assert not there or provenance(path)["sha256"] == sha256_of(path)
        seen.add((path.read_bytes(), there))
        if status == 0:
            break
        assert status == DIED
    everything = {(b"earlier", True), (b"earlier", False), (b"new", False), (b"new", True)}
    assert seen == everything and 4 < changes < 100
    assert not temporaries(folder), "the next writer removes them"
