"""Whose slices are marked in a measurement and who is segmented from them: one patient, each in
turn, each from itself, or the papers' folds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from ..data.errors import InputError
from ..evaluation.folds import PAPERS_SUPPORT_CASE, papers_folds

SAME, EACH = "same", "each"
FOLD = "{fold}"  # in the name of a file of weights


@dataclass(frozen=True)
class Part:
    """One support case and its queries, by name; `fold` is None where there are no folds."""

    fold: int | None
    support: str
    queries: tuple[str, ...]


def parts_of(args: argparse.Namespace, names: Sequence[str]) -> list[Part]:
    """Who is support and who is query, once, in each fold, or with each patient as the support.

    Raises:
        InputError: too few cases, options that contradict each other, or an unknown case.
    """
    if args.folds:
        return _folds(args, names)
    if args.fob and FOLD in args.fob:
        raise InputError(f"--fob {args.fob}: {FOLD} goes with --folds")
    wanted = _support_case(args, names)
    supports = names if wanted == EACH else [wanted]
    return [Part(None, one, tuple(name for name in names if name != one)) for one in supports]


def _folds(args: argparse.Namespace, names: Sequence[str]) -> list[Part]:
    if args.support_case:
        raise InputError("--folds chooses the support cases; leave --support-case out")
    try:
        folds = papers_folds(len(names))
    except ValueError as problem:
        raise InputError(f"{args.dataset}: {problem}; name one with --support-case") from None
    return [Part(f.number, names[f.support], tuple(names[q] for q in f.queries)) for f in folds]


def _support_case(args: argparse.Namespace, names: Sequence[str]) -> str:
    wanted = args.support_case or names[min(PAPERS_SUPPORT_CASE, len(names) - 1)]
    if wanted == SAME and args.protocol == "given-slices":
        raise InputError("--support-case same is for --protocol whole-volume; name a patient")
    if wanted not in (SAME, EACH, *names):
        raise InputError(f"--support-case {wanted}: there is none; use {', '.join(names)}")
    if wanted != SAME and len(names) < 2:
        raise InputError(
            f"{args.dataset}: holds one case only; use --support-case same --protocol whole-volume"
        )
    return wanted
