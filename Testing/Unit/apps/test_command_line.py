"""The command line: help, and one line with exit status 2 for whatever cannot be used."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from FewShotSAMLib.apps import options
from FewShotSAMLib.apps.commands.segment import load_chosen_segmenter
from FewShotSAMLib.apps.main import COMMANDS, command_parser, main
from FewShotSAMLib.apps.outputs import tell
from FewShotSAMLib.apps.progress import ProgressBar
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.segmentation.results import Progress

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "FewShotSAMLib", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """A small image and a mask of one of its slices."""
    random = np.random.default_rng(0)
    voxels = random.integers(0, 500, (6, 32, 32)).astype(np.int16)
    mask = np.zeros(voxels.shape, np.uint8)
    mask[3, 8:20, 8:20] = 1
    image_path, mask_path = folder / "image.nii.gz", folder / "mask.nii.gz"
    write_volume(Volume(voxels=voxels), image_path)
    write_labels(Volume(voxels=mask), mask_path)
    return image_path, mask_path


@pytest.fixture
def files(tmp_path):
    image, mask = write_inputs(tmp_path)
    return tmp_path, image, mask


def complaint(capsys, *arguments) -> str:
    """The one line that a command line which cannot be used gets."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        status = stopped.code
    out, err = capsys.readouterr()
    assert status == 2, err
    assert out == ""
    assert err.startswith("fewshotsam: error: ") and err.count("\n") == 1, err
    return err


def test_help_of_the_program_and_each_command():
    done = run("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"fewshotsam {command}" in capsys.readouterr().out


def test_a_missing_file_is_one_line_in_a_real_process(tmp_path):
    output = tmp_path / "out.nii.gz"
    done = run(
        "segment", tmp_path / "nowhere.nii", "--support-mask", tmp_path / "m.nii", "-o", output
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and "nowhere.nii" in done.stderr
    assert not output.exists()


@pytest.mark.parametrize(
    ("command", "unbuffered"), [("models list", ""), ("models list", "1"), ("--help", "")]
)
def test_a_reader_that_has_seen_enough_is_no_error(command, unbuffered):
    """As in `fewshotsam models list | head -1`: what is printed after that goes nowhere."""
    assert unread(*command.split(), stream="stdout", unbuffered=unbuffered) == (141, "")


def test_a_complaint_that_nobody_reads_is_not_complained_about():
    assert unread("models", "where", "nothing", stream="stderr") == (141, "")


def unread(*arguments: str, stream: str, unbuffered: str = "") -> tuple[int, str]:
    """Exit status of a process one of whose streams is a closed pipe, and what the other got."""
    process = subprocess.Popen(
        [sys.executable, "-m", "FewShotSAMLib", *arguments], cwd=ROOT, encoding="utf-8",
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    getattr(process, stream).close()
    other = process.stderr if stream == "stdout" else process.stdout
    with process, other:
        said = other.read()
    return process.returncode, said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_one_line():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "FewShotSAMLib", "models", "where"], cwd=ROOT, stdout=full,
            stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("fewshotsam: error: ") and done.stderr.count("\n") == 1


def test_no_command(capsys):
    assert "COMMAND" in complaint(capsys)


def test_unknown_option_value(capsys, files):
    folder, image, mask = files
    said = complaint(
        capsys, "segment", image, "--support-mask", mask, "-o", folder / "o.nrrd", "--axis", "up"
    )
    assert "--axis" in said and "coronal" in said


def test_nothing_marked(capsys, files):
    folder, image, _ = files
    assert "--support-mask" in complaint(capsys, "segment", image, "-o", folder / "o.nrrd")


def test_masks_and_images_that_do_not_pair_up(capsys, files):
    folder, image, mask = files
    said = complaint(
        capsys, "segment", image, "--support-image", image, "--support-mask", mask,
        "--support-mask", mask, "-o", folder / "o.nrrd",
    )  # fmt: skip
    assert "1 support images and 2 masks" in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.xyz", ".seg.nrrd"),
        ("out", "without extension"),
        ("missing/out.nii.gz", "make it first"),
        ("image.nii.gz", "input"),
        ("mask.nii.gz", "input"),
        ("out.png", "one slice"),
    ],
)
def test_an_output_that_cannot_be(capsys, files, name, reason):
    folder, image, mask = files
    before = {path: path.read_bytes() for path in folder.iterdir()}
    said = complaint(capsys, "segment", image, "--support-mask", mask, "-o", folder / name)
    assert name.split("/")[-1] in said and reason in said
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_report_cannot_be_the_output(capsys, files):
    folder, image, mask = files
    said = complaint(
        capsys, "segment", image, "--support-mask", mask, "-o", folder / "o.nrrd",
        "--report", folder / "report.pdf",
    )  # fmt: skip
    assert "report.pdf" in said and ".html" in said


def test_a_label_that_is_not_drawn(capsys, files):
    folder, image, mask = files
    said = complaint(
        capsys, "segment", image, "--support-mask", mask, "--label", 7, "-o", folder / "o.nrrd"
    )
    assert "mask.nii.gz" in said and "7" in said


def test_a_slice_that_is_not_drawn(capsys, files):
    folder, image, mask = files
    said = complaint(
        capsys, "support", image, mask, "--support-slices", "1", "-o", folder / "o.nrrd"
    )
    assert "slice 1" in said and "3" in said


def test_an_empty_mask(capsys, files):
    folder, image, mask = files
    write_labels(Volume(voxels=np.zeros((6, 32, 32), np.uint8)), mask)
    said = complaint(capsys, "segment", image, "--support-mask", mask, "-o", folder / "o.nrrd")
    assert "mask.nii.gz" in said and "empty" in said


def test_a_file_that_is_no_image(capsys, files):
    folder, image, mask = files
    image.write_text("not an image", encoding="utf-8")
    said = complaint(capsys, "segment", image, "--support-mask", mask, "-o", folder / "o.nrrd")
    assert "image.nii.gz" in said


def test_a_4d_image_is_refused_with_the_option_that_chooses(capsys, files):
    import SimpleITK as sitk

    folder, _, mask = files
    frames = [sitk.GetImageFromArray(np.random.rand(6, 32, 32)) for _ in range(3)]
    path = folder / "four.nii.gz"
    sitk.WriteImage(sitk.JoinSeries(frames), str(path))
    said = complaint(capsys, "segment", path, "--support-mask", mask, "-o", folder / "o.nrrd")
    assert "--component" in said and "component=" not in said


def test_debug_shows_where(capsys, files):
    folder, _, mask = files
    missing = folder / "nowhere.nii"
    assert main(["support", str(missing), str(mask), "-o", str(folder / "o.nrrd"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_support_is_kept_and_says_what_it_holds(capsys, files):
    folder, image, mask = files
    kept = folder / "kept.nrrd"
    assert main(["support", str(image), str(mask), "-o", str(kept)]) == 0
    assert "1 axial slice" in capsys.readouterr().out
    assert kept.stat().st_size > 0


@pytest.mark.parametrize("text", ["5", "5:", "9:3", "-1:4", "a:b"])
def test_slice_ranges_that_make_no_sense(text):
    with pytest.raises(argparse.ArgumentTypeError, match="FIRST"):
        options.slice_range(text)


def test_values_of_options():
    assert options.slice_range("0:0") == (0, 0)
    assert options.slice_choice("3,17") == [3, 17]
    assert options.slice_choice("thirds") == "thirds"
    assert options.window("-125:275") == (-125.0, 275.0)
    with pytest.raises(argparse.ArgumentTypeError, match="thirds"):
        options.slice_choice("third")
    with pytest.raises(argparse.ArgumentTypeError, match="below"):
        options.window("5:5")


def test_doctor_names_device_memory_and_weights():
    done = run("doctor")
    assert done.returncode == 0, done.stderr
    for word in ("torch", "auto uses", "GiB", "SHA-256", "used on disk"):
        assert word in done.stdout


def test_methods_models_and_strategies_that_are_not_there_list_those_that_are(
    capsys, files, monkeypatch
):
    folder, image, mask = files
    monkeypatch.setenv("FEWSHOTSAM_WEIGHTS", str(folder / "none"))
    command = ("segment", image, "--support-mask", mask, "-o", folder / "o.nrrd")
    for extra, said in {
        ("--fob", "fob-ct"): "go with method fob or auto",
        ("--strategy", "memory"): "use model fast, balanced or best, or strategy 'propagate'",
        ("--model", "sam99"): "embedded, fast, balanced, best",
        ("--features", "dino99"): "none, embedded, dinov2-small",
        ("--precision", "int8"): "fp32",
        ("--model", "fast"): "fewshotsam models download sam2.1-tiny",
    }.items():
        assert said in complaint(capsys, *command, *extra)
    assert not (folder / "o.nrrd").exists()


def test_precision_and_leave_to_use_the_cpu_are_passed_on():
    parsed = command_parser().parse_args(
        ["segment", "q", "-o", "o", "--precision", "bf16", "--allow-cpu", "--device", "cpu"]
    )
    model = load_chosen_segmenter(parsed).encoders.model
    assert str(model.dtype) == "torch.bfloat16"
    assert parsed.allow_cpu
    parsed = command_parser().parse_args(["segment", "q", "-o", "o"])
    assert parsed.precision == "auto" and not parsed.allow_cpu


def test_notes_stand_on_lines_of_their_own_beside_a_bar(capsys):
    bar = ProgressBar()
    bar(Progress("encode", 1, 5))
    tell("a network: 8 slices at once do not fit;\ngoing on with 4")
    bar(Progress("encode", 2, 5))
    bar.close()
    out, err = capsys.readouterr()
    assert out == ""
    line = "fewshotsam: note: a network: 8 slices at once do not fit; going on with 4"
    assert line in [part.rpartition("\r")[2] for part in err.split("\n")]
