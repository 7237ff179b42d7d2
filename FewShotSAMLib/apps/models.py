"""`fewshotsam models`: which models there are, where their weights lie, whether they are whole."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    parser.add_argument(
        "action",
        choices=("list", "where", "verify"),
        help="list them, print the folder of their weights, or compare the weights with their "
        "recorded SHA-256",
    )


def run(args: argparse.Namespace) -> int:
    """Do one of the actions."""
    return {"list": _list, "where": _where, "verify": _verify}[args.action]()


def _list() -> int:
    from ..models.resources import recorded_sha256, shipped_weights

    print(f"{'name':<12} {'size':>8}  {'SHA-256':<14} from")
    for path in shipped_weights():
        megabytes = path.stat().st_size / 1e6
        print(f"{path.stem:<12} {megabytes:>5.1f} MB  {recorded_sha256(path)[:12]}…  {path}")
    return 0


def _where() -> int:
    from ..models.resources import models_folder

    print(models_folder())
    return 0


def _verify() -> int:
    from ..data.errors import InputError
    from ..models.resources import recorded_sha256, sha256_of, shipped_weights

    for path in shipped_weights():
        found, recorded = sha256_of(path), recorded_sha256(path)
        if found != recorded:
            raise InputError(
                f"{path}: SHA-256 is {found}, recorded is {recorded}; "
                "the file is damaged or was replaced, install FewShotSAM again"
            )
        print(f"{path.stem}: whole, SHA-256 {found}")
    return 0
