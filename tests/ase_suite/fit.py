"""A network that has learnt EMT by ``jmp_calc.finetune``.

python -m tests.ase_suite.fit FOLDER [SHARE] [EPOCHS]
"""

from __future__ import annotations

import sys
from pathlib import Path

from jmp_calc import finetune
from jmp_calc.training import TrainConfig, TrainResult
from tests.ase_suite.emt_frames import emt_frames, lone_atom_energies

SHARE, EPOCHS = 0.3, 12
"""Size of the data and passes over them: about five minutes of one core."""


def fitted(folder: Path, share: float = SHARE, epochs: int = EPOCHS) -> TrainResult:
    """Fine-tune jmp-xs to EMT in ``folder``; its ``best`` is the model file."""
    return finetune(
        emt_frames(share=share),
        model="jmp-xs",
        head="pbe",
        head_name="emt",
        references=lone_atom_energies(),
        valid_fraction=0.05,
        config=TrainConfig(epochs=epochs, batch_size=8, compile="off"),
        out=folder,
        device="cpu",
        overwrite=True,
    )


def main(folder: str, share: str = str(SHARE), epochs: str = str(EPOCHS)) -> None:
    """Fit, and say how near it came."""
    result = fitted(Path(folder), float(share), int(epochs))
    print(result.valid, result.best, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
