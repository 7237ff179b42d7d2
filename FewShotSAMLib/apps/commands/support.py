"""`fewshotsam support`: keep marked slices as one file, to segment other volumes with later."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from .. import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options and the shared ones."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image that was drawn on")
    parser.add_argument("mask", type=Path, metavar="MASK", help="what was drawn")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="SUPPORT.nrrd", help="where to keep it"
    )
    parser.add_argument(
        "--no-overview", action="store_true",
        help="leave out the thin copy of the whole image (64 pixels a side), by which structures "
        "are found in other patients; only the marked slices are kept",
    )
    parser.add_argument(
        "--keep-name", action="store_true",
        help="keep the names of the image's and the mask's files as well, which may tell who the "
        "patient is; they are left out otherwise",
    )
    options.add_drawing_options(parser)
    options.add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read, keep the marked slices, say which."""
    from ..inputs import draw_support, read_image
    from ..outputs import check_destination

    check_destination(args.output, (".nrrd",), [args.image, args.mask])
    support = draw_support(read_image(args.image, args), args.mask, args)
    if args.no_overview:
        support = replace(support, overview=None)
    support.save(args.output, keep_name=args.keep_name)
    names = ", ".join(f"{label} {name}" for label, name in support.names.items())
    print(f"wrote {args.output}: {names}; {len(support.slices)} {support.axis} slice(s)")
    return 0
