"""The mean of several networks' weights: python -m FewShotSAMLib.training.averaging OUT FILE FILE.

Networks that were trained on from the same weights lie in one basin of the loss, and their mean
does better on pictures unlike those of the training than any of them (model soups, Wortsman et al.
2022, arXiv 2203.05482): what a run learnt of generated pictures alone is averaged away.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..data.errors import InputError
from ..models.devices import choose_device
from ..models.embedded import read_network
from ..models.embedded_network import EmbeddedNetwork
from ..weights.own_weights import read_weights
from ..weights.resources import sha256_of
from .embedded import write_measured
from .option_values import positive
from .validation import CHECKED


def average(networks: Sequence[EmbeddedNetwork]) -> EmbeddedNetwork:
    """The mean of their weights, each counting the same.

    Raises:
        InputError: fewer than two, or not all of the same widths.
    """
    if len(networks) < 2:
        raise InputError("one file alone has no mean; name two or more")
    first = networks[0]
    if any(one.config != first.config for one in networks):
        raise InputError("the files hold networks of different widths, which have no mean")
    states = [one.state_dict() for one in networks]
    mean = EmbeddedNetwork(first.config)
    mean.load_state_dict({
        name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]
    })
    return mean


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    try:
        if options.out.suffix != ".safetensors":
            raise InputError(f"{options.out}: a file of weights is called *.safetensors")
        network = average([read_network(file) for file in options.files])
        device = choose_device(options.device).device.type
        known = {
            "command": "python -m FewShotSAMLib.training.averaging OUT " + " ".join(
                file.name for file in options.files
            ),
            "mean_of": [_told_of(file) for file in options.files],
            "training_data": "generated images only",
        }
        write_measured(network.to(device), options.out, device, known, checked=options.checked)
    except InputError as problem:
        print(f"averaging: error: {problem}", file=sys.stderr)
        return 2
    return 0


def _told_of(file: Path) -> dict[str, object]:
    """A file's SHA-256 and what it says of how it was made."""
    _, _, said = read_weights(file, "an embedded model")
    try:
        told = json.loads(said.get("provenance", "{}"))
    except ValueError:
        told = {}
    return {"sha256": sha256_of(file), **(told if isinstance(told, dict) else {})}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the weights to write (.safetensors)")
    parser.add_argument("files", type=Path, nargs="+", help="weights to average")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--checked", type=positive(int), default=CHECKED,
                        help=f"generated pairs that the mean is measured by (default: {CHECKED})")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
