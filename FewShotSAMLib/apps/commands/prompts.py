"""`fewshotsam prompts`: the prompts of one slice, as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options and the shared ones."""
    parser.add_argument("query", type=Path, metavar="QUERY", help="the volume")
    parser.add_argument(
        "--slice",
        type=int,
        required=True,
        metavar="K",
        help="which slice of QUERY, from 0, along the direction that was drawn in",
    )
    options.add_support_options(parser)
    options.add_model_options(parser)
    options.add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read, find the prompts, print."""
    from ..inputs import read_image, read_supports
    from ..outputs import print_json
    from .segment import load_chosen_segmenter

    query = read_image(args.query, args)
    supports = read_supports(args, query)
    segmenter = load_chosen_segmenter(args)
    names = {label: name for support in supports for label, name in support.names.items()}
    prompts = segmenter.prompts(query, supports, args.slice, window=args.window)
    labels = [
        {"label": label, "name": names[label], **found.to_json()}
        for label, found in prompts.items()
    ]
    known = {"query": args.query, "slice": args.slice, "axis": supports[0].axis}
    print_json({**known, "method": args.method, "labels": labels})
    return 0
