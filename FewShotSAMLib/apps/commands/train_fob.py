"""`fewshotsam train-fob`: FoB learns from one's own scans; nothing need be drawn on them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .. import options

if TYPE_CHECKING:
    import torch

    from ...data.volume import Volume
    from ...models.embedded import EmbeddedModel
    from ...models.fob_config import FobConfig
    from ...training.fob import FobSchedule, FobTraining
    from ...training.fob_volumes import TrainingVolume, VolumeEpisodes

BACKBONES = ("resnet101", "embedded")
STEPS = {"resnet101": 39_000, "embedded": 1500}
CANCELLED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    _add_files(parser)
    _add_network(parser)
    _add_training(parser)
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda|mps",
        help="where to compute (default: auto, the fastest there is)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, nargs="+", action="extend", required=True, metavar="FOLDER",
        help="folders that are looked through, or single volumes; labels are not needed",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.safetensors",
        help="the weights; what they were made from is written beside them as .json",
    )
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", dest="folder",
        help="where the unfinished run, its log and the supervoxels are kept (default: beside "
        "FILE); the same command goes on with it",
    )


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone", choices=BACKBONES, default="resnet101",
        help="the published network, for any model (default), or the shipped model's features: "
        "small and quick to train, for '--model embedded'",
    )
    parser.add_argument(
        "--refinement", choices=("none", "official", "repaired"), default="none",
        help="the last step that moves the points: left out (default), as published, where it "
        "never learns, or with its mistakes mended, which moved points into structures",
    )
    parser.add_argument(
        "--modality", choices=("auto", "CT", "MR"), default="auto",
        help="what the images are (default: found from the files)",
    )
    parser.add_argument(
        "--start", type=Path, metavar="WEIGHTS",
        help="weights to begin with: a FoB, or a state dict of torchvision's resnet101",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps", type=options.positive_int, metavar="N",
        help="length of the training (default: 39000 as published, 1500 for embedded)",
    )
    parser.add_argument(
        "--minutes", type=_positive, metavar="M", help="end after this time, if it comes first"
    )
    parser.add_argument(
        "--rate", type=_positive, metavar="R",
        help="first learning rate (default: 1e-4 as published, 1e-3 for embedded)",
    )
    parser.add_argument(
        "--checked", type=options.positive_int, metavar="N",
        help="held-out pairs of slices to measure by (default: 24; 8 as published on a CPU)",
    )
    parser.add_argument(
        "--check-every", type=_positive, metavar="SECONDS",
        help="how often the error is measured, shown and logged, and the run saved (default: 120, "
        "600 as published)",
    )
    parser.add_argument(
        "--log", choices=("csv", "tensorboard"), default="csv",
        help="log.csv in the run's folder (default), or TensorBoard's events as well",
    )


def run(args: argparse.Namespace) -> int:
    """Read, cut into supervoxels, train, write."""
    from ..outputs import check_destination, tell
    from ..training_run import run_folder, stopping

    check_destination(args.out, [".safetensors"], args.images)
    folder = run_folder(args.folder, args.out)
    try:
        with stopping() as stopped:
            _train(args, folder, stopped, tell)
    except KeyboardInterrupt:
        print(
            f"fewshotsam: cancelled; the run is kept in {folder} and the same command goes on "
            "with it", file=sys.stderr,
        )
        return CANCELLED
    print(f"wrote {args.out}")
    return 0


def _train(
    args: argparse.Namespace, folder: Path, stopped: Callable[[], bool],
    tell: Callable[[str], None],
) -> None:
    from ...models.devices import choose_device
    from ...models.embedded import load_embedded
    from ...training.fob import train
    from ...training.fob_export import export_trained
    from ..training_run import check_same_run, open_log

    log, start = open_log(args.log, folder), _sha256(args.start)
    device = choose_device(args.device).device
    backbone = load_embedded(device)[0] if args.backbone == "embedded" else None
    volumes, modality = _read(args, folder, stopped, tell)
    source = _episodes(args, volumes, device, stopped)
    images = sorted(v.sha256 for v in volumes)
    check_same_run(folder, {"images": images, "seed": args.seed, "start": start})
    training = _training(args, _config(args, modality, backbone), device, backbone)
    _begin(args, folder, training, (len(volumes), len(source.held_out_volumes)), tell)
    row = train(
        training, source, folder, minutes=args.minutes,
        check_every=args.check_every or (120.0 if backbone is not None else 600.0), tell=log,
    )
    row = row or {"step": training.step} | training.error(source.held_out())
    export_trained(training, args.out, row, {
        "command": _command(args),
        "training_data": f"{len(volumes)} unlabelled volumes of the user",
        "modality": modality,
        "images_sha256": images,
        "held_out_sha256": sorted(v.sha256 for v in source.held_out_volumes),
        "start_sha256": start,
    })


def _begin(
    args: argparse.Namespace, folder: Path, training: FobTraining, counts: tuple[int, int],
    tell: Callable[[str], None],
) -> None:
    """Take the weights to begin with, unless the run goes on, and say what begins.

    counts: volumes in all, and those held out."""
    from ...training.fob_start import start_from

    resumed = (folder / "run.pt").exists()
    if args.start is not None and not resumed:
        tell(f"{start_from(training.network, args.start)} taken from {args.start}")
    count, apart = counts
    what = "its last slices are" if count == 1 else f"{apart} of them"
    tell(
        f"{'going on' if resumed else 'training'} on {training.device} with {count} "
        f"volume{'s'[: count != 1]}, {what} held out to measure by"
    )


def _read(
    args: argparse.Namespace, folder: Path, stopped: Callable[[], bool],
    tell: Callable[[str], None],
) -> tuple[list[TrainingVolume], str]:
    """All volumes with their supervoxels, and the modality that the weights will be for."""
    from ...data.errors import InputError

    found: dict[str, TrainingVolume] = {}
    modalities: set[str] = set()
    for volume, ready in _prepared(args, folder, stopped, tell):
        if ready.sha256 in found:
            tell(f"left out: {volume.name}: the same image as {found[ready.sha256].name}")
            continue
        found[ready.sha256] = ready
        modalities.add(volume.modality)
        tell(f"{volume.name}: {volume.modality}, {ready.grey.shape[0]} slices, "
             f"{int(ready.parts.max())} supervoxels")
    if not found:
        raise InputError(
            f"{', '.join(map(str, args.images))}: no volume to train on (NIfTI, NRRD, MHA or "
            "DICOM, with several slices)"
        )
    one = modalities.pop() if len(modalities) == 1 else "any"
    # In the order of their hashes, so that names do not decide which are held out.
    return [found[key] for key in sorted(found)], one if one in ("CT", "MR") else "any"


def _prepared(
    args: argparse.Namespace, folder: Path, stopped: Callable[[], bool],
    tell: Callable[[str], None],
) -> Iterator[tuple[Volume, TrainingVolume]]:
    """Each volume that training can use, as it was read and cut into supervoxels."""
    from ...data.errors import InputError
    from ...training.fob_volumes import prepare_volume
    from ..training_images import read_training_volumes

    framing = "body" if args.backbone == "embedded" else "slice"
    asked = None if args.modality == "auto" else args.modality
    for volume in read_training_volumes(args.images, asked, tell):
        if stopped():
            raise KeyboardInterrupt
        try:
            ready = prepare_volume(volume, framing, folder)
        except InputError as problem:
            tell(f"left out: {problem}")
        else:
            yield volume, ready


def _config(
    args: argparse.Namespace, modality: str, backbone: EmbeddedModel | None
) -> FobConfig:
    from ...models.fob import embedded_config
    from ...models.fob_config import FobConfig

    known = {"refinement": args.refinement, "modality": modality}
    if backbone is None:
        return FobConfig(**known)
    return embedded_config(backbone.network.config, **known)


def _episodes(
    args: argparse.Namespace, volumes: list[TrainingVolume], device: torch.device,
    stopped: Callable[[], bool],
) -> VolumeEpisodes:
    from ...training.fob_volumes import VolumeEpisodes

    class Interruptible(VolumeEpisodes):
        """Stops the training between two steps, so that the run is saved whole."""

        def batch(self, step: int):
            if stopped():
                raise KeyboardInterrupt
            return super().batch(step)

    small = args.backbone == "embedded"
    checked = args.checked or (24 if small or device.type == "cuda" else 8)
    return Interruptible(
        volumes, seed=args.seed, device=device, pairs=4 if small else 1,
        structures=3 if small else 1, checked=checked,
    )


def _schedule(args: argparse.Namespace) -> FobSchedule:
    from ...training.fob import FobSchedule, embedded_schedule

    steps = args.steps or STEPS[args.backbone]
    if args.backbone == "embedded":
        return embedded_schedule(steps, *([args.rate] if args.rate else []))
    return FobSchedule(steps, args.rate or FobSchedule.rate)


def _training(
    args: argparse.Namespace, config: FobConfig, device: torch.device,
    backbone: EmbeddedModel | None,
) -> FobTraining:
    from ...training.fob import FobTraining
    from ...weights.packages import missing_package

    try:
        return FobTraining(config, str(device), args.seed, _schedule(args), backbone)
    except ImportError as problem:
        raise missing_package("train-fob --backbone resnet101", problem, "torchvision") from None


def _sha256(path: Path | None) -> str:
    from ...data.errors import InputError
    from ...weights.resources import sha256_of

    if path is not None and not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    return "" if path is None else sha256_of(path)


def _command(args: argparse.Namespace) -> str:
    """The command for the provenance, without names of files: they may be those of patients."""
    said = [f"--backbone {args.backbone}", f"--refinement {args.refinement}",
            f"--modality {args.modality}", f"--seed {args.seed}"]
    said += [f"--{name} {value:g}" for name in ("steps", "minutes", "rate")
             if (value := getattr(args, name)) is not None]
    said += ["--start WEIGHTS"] if args.start is not None else []
    return " ".join(["fewshotsam train-fob --images FOLDER --out FILE", *said])


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value
