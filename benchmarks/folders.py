"""Where benchmarks find data that are not in the repository: an option or an environment variable, never a fixed path."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """``--data FOLDER`` with the data sets (extended XYZ files); without it the folder that JMP_CALC_DATA names.
    Beside ``--table``, which computes nothing, none is needed."""
    _add(parser, "--data", "JMP_CALC_DATA", "folder of the data sets", needed="--table" not in sys.argv)


def add_reference_option(parser: argparse.ArgumentParser) -> None:
    """``--reference FOLDER`` with numbers of the official implementation; without it what JMP_CALC_REFERENCE names."""
    _add(parser, "--reference", "JMP_CALC_REFERENCE", "folder of the official implementation's numbers")


def _add(
    parser: argparse.ArgumentParser, option: str, variable: str, text: str, *, needed: bool = True
) -> None:
    named = os.environ.get(variable)
    parser.add_argument(
        option,
        type=Path,
        default=Path(named) if named else None,
        required=needed and not named,
        help=f"{text}; or the environment variable {variable}",
    )
