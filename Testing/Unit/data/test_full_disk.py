"""A disk that fills up while a result is written: what was there stays, and one line says why.

A limit on the length of files stands in for the disk: writing past it fails as it does there.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from FewShotSAMLib.data.volume import Segment, Volume
from FewShotSAMLib.data.writing import write_labels

KINDS = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".png")
SCRIPT = """
import pathlib, resource, sys
import numpy as np
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_labels, write_volume
folder, most = pathlib.Path(sys.argv[1]), int(sys.argv[2])
voxels = np.random.default_rng(1).integers(0, 200, (1, 200, 150)).astype(np.uint8)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
for name in sys.argv[3:]:
    for write in (write_labels, write_volume):
        try:
            write(Volume(voxels), folder / name)
        except InputError as error:
            print("refused", error)
        else:
            print("wrote", name)
"""


def written_with_room_for(folder, room: int, names) -> list[str]:
    """The lines of a child whose files may have ``room`` bytes."""
    pytest.importorskip("resource", reason="this system limits no lengths of files")
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(room), *names],
        capture_output=True, text=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize("room", [0, 100, 400, 4096, 20000])
def test_a_result_that_does_not_fit_leaves_the_earlier_one(tmp_path, room):
    names = [f"old{kind}" for kind in KINDS]
    earlier = Volume(np.eye(9, dtype=np.uint8)[None], segments={1: Segment("a", (1, 0, 0))})
    for name in names:
        write_labels(earlier, tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in names}
    lines = written_with_room_for(tmp_path, room, names)
    assert len(lines) == 2 * len(names)
    for line in lines:
        assert line.startswith("refused") and "cannot be written" in line
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_one_that_fits_is_written(tmp_path):
    names = [f"new{kind}" for kind in KINDS]
    assert written_with_room_for(tmp_path, 1 << 20, names) == [
        f"wrote {name}" for name in names for _ in range(2)
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
