"""`fewshotsam train-fob`: FoB learns from one's own scans; nothing need be drawn on them."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ..models.embedded import EmbeddedModel
    from ..models.fob_network import FobConfig
    from ..training.fob import FobTraining
    from ..training.fob_volumes import TrainingVolume, VolumeEpisodes

BACKBONES = ("resnet101", "embedded")
STEPS = {"resnet101": 39_000, "embedded": 1500}
CANCELLED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--images", type=Path, nargs="+", action="extend", required=True, metavar="FOLDER",
        help="folders that are looked through, or single volumes; labels are not needed",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.safetensors",
        help="the weights; what they were made from is written beside them as .json",
    )
    parser.add_argument(
        "--backbone", choices=BACKBONES, default="resnet101",
        help="as published, for any model (default), or the shipped model's features: small and "
        "quick to train, for '--model embedded'",
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
        "--steps", type=_positive_int, metavar="N",
        help="length of the training (default: 39000 as published, 1500 for embedded)",
    )
    parser.add_argument(
        "--minutes", type=_positive, metavar="M", help="end after this time, if it comes first"
    )
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", dest="folder",
        help="where the unfinished run, its log and the supervoxels are kept (default: beside "
        "FILE); the same command goes on with it",
    )
    parser.add_argument(
        "--start", type=Path, metavar="WEIGHTS",
        help="weights to begin with: a FoB, or a state dict of torchvision's resnet101",
    )
    parser.add_argument(
        "--rate", type=_positive, metavar="R",
        help="first learning rate (default: 1e-4 as published, 1e-3 for embedded)",
    )
    parser.add_argument(
        "--checked", type=_positive_int, metavar="N",
        help="held-out pairs of slices to measure by (default: 24; 8 as published on a CPU)",
    )
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda|mps",
        help="where to compute (default: auto, the fastest there is)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--log", choices=("csv", "tensorboard"), default="csv",
        help="log.csv in the run's folder (default), or TensorBoard's events as well",
    )


def run(args: argparse.Namespace) -> int:
    """Read, cut into supervoxels, train, write."""
    from ..data.errors import InputError
    from .outputs import check_destination, tell

    check_destination(args.out, [".safetensors"], args.images)
    folder = args.folder or args.out.with_name(f"{args.out.stem}-run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    try:
        with _stopping() as stopped:
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
    from ..models.devices import choose_device
    from ..models.embedded import load_embedded
    from ..training.fob import FobSchedule, FobTraining, embedded_schedule, train
    from ..training.fob_export import export_trained
    from ..training.fob_start import start_from

    log, start = _log(args.log, folder), _sha256(args.start)
    device = choose_device(args.device).device
    backbone = load_embedded(device)[0] if args.backbone == "embedded" else None
    volumes, modality = _read(args, folder, stopped, tell)
    config = _config(args, modality, backbone)
    steps = args.steps or STEPS[args.backbone]
    if args.backbone == "embedded":
        schedule = embedded_schedule(steps, *([args.rate] if args.rate else []))
    else:
        schedule = FobSchedule(steps, args.rate or FobSchedule.rate)
    source = _episodes(args, volumes, device, stopped)
    _check_same_run(folder, {
        "images": sorted(v.sha256 for v in volumes), "seed": args.seed,
        "start": start,
    })
    training = _training(FobTraining, config, str(device), args.seed, schedule, backbone)
    resumed = (folder / "run.pt").exists()
    if args.start is not None and not resumed:
        tell(f"{start_from(training.network, args.start)} taken from {args.start}")
    apart = source.held_out_volumes
    what = "its last slices are" if len(volumes) == 1 else f"{len(apart)} of them"
    tell(
        f"{'going on' if resumed else 'training'} on {device} with {len(volumes)} "
        f"volume{'s'[: len(volumes) != 1]}, {what} held out to measure by"
    )
    row = train(
        training, source, folder, minutes=args.minutes,
        check_every=120.0 if backbone is not None else 600.0, tell=log,
    )
    row = row or {"step": training.step} | training.error(source.held_out())
    export_trained(training, args.out, row, {
        "command": _command(args),
        "training_data": f"{len(volumes)} unlabelled volumes of the user",
        "modality": modality,
        "images_sha256": sorted(v.sha256 for v in volumes),
        "held_out_sha256": sorted(v.sha256 for v in apart),
        "start_sha256": start,
    })


def _read(
    args: argparse.Namespace, folder: Path, stopped: Callable[[], bool],
    tell: Callable[[str], None],
) -> tuple[list[TrainingVolume], str]:
    """All volumes with their supervoxels, and the modality that the weights will be for."""
    from ..data.errors import InputError
    from ..training.fob_volumes import prepare_volume
    from .training_images import read_training_volumes

    framing = "body" if args.backbone == "embedded" else "slice"
    asked = None if args.modality == "auto" else args.modality
    found: dict[str, TrainingVolume] = {}
    modalities: set[str] = set()
    for volume in read_training_volumes(args.images, asked, tell):
        if stopped():
            raise KeyboardInterrupt
        try:
            ready = prepare_volume(volume, framing, folder)
        except InputError as problem:
            tell(f"left out: {problem}")
            continue
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


def _config(
    args: argparse.Namespace, modality: str, backbone: EmbeddedModel | None
) -> FobConfig:
    from ..models.fob import embedded_config
    from ..models.fob_network import FobConfig

    known = {"refinement": args.refinement, "modality": modality}
    if backbone is None:
        return FobConfig(**known)
    return embedded_config(backbone.network.config, **known)


def _episodes(
    args: argparse.Namespace, volumes: list[TrainingVolume], device: torch.device,
    stopped: Callable[[], bool],
) -> VolumeEpisodes:
    from ..training.fob_volumes import VolumeEpisodes

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


def _training(make: type[FobTraining], config: FobConfig, *settings: object) -> FobTraining:
    from ..models.packages import missing_package

    try:
        return make(config, *settings)
    except ImportError as problem:
        raise missing_package("train-fob --backbone resnet101", problem, "torchvision") from None


def _check_same_run(folder: Path, settings: dict[str, object]) -> None:
    """Refuse to go on with a run of other images or settings."""
    from ..data.errors import InputError
    from .outputs import write_text

    path = folder / "settings.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    except (OSError, ValueError):
        raise InputError(f"{path}: cannot be read; choose another folder with --run") from None
    changed = [name for name, value in settings.items() if before.get(name) != value]
    if changed:
        raise InputError(
            f"{folder}: holds a run that began with other {' and '.join(changed)}; choose another "
            "folder with --run, or remove it"
        )


def _sha256(path: Path | None) -> str:
    from ..data.errors import InputError
    from ..models.resources import sha256_of

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


def _log(kind: str, folder: Path) -> Callable[[dict[str, float]], None]:
    """What is done with each row of the log, besides log.csv."""
    from ..data.errors import InputError
    from ..training.run_log import print_row

    if kind == "csv":
        return print_row
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "--log tensorboard: the package tensorboard is not installed; run: pip install "
            "tensorboard"
        ) from None
    writer = SummaryWriter(str(folder))

    def write(row: dict[str, float]) -> None:
        print_row(row)
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, int(row["step"]))
        writer.flush()

    return write


@contextlib.contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; a second one stops at once."""
    pressed: list[bool] = []

    def interrupt(_signal: int, _frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        print("fewshotsam: stopping after this volume or step", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value
