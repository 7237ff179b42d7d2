"""`fewshotsam evaluate`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """x"""


def run(args: argparse.Namespace) -> int:
    """x"""
    return 0
