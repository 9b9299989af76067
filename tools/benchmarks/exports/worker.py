"""A worker: export one model, or time the exports of one model, in a process of its own.

python -m exports.worker export|measure '{"names": [...], "setting": {...}}' FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from exports.settings import ANOMALIB, Setting, megabytes


def export(name: str, setting: Setting, folder: Path) -> None:
    """Export, and write seconds and megabytes to the folder."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(setting.threads)
    if name == ANOMALIB:
        from exports import peer

        found = peer.export(setting, folder)
    else:
        from exports import ours

        found = ours.export(name, setting, folder)
    found["int8_size"] = megabytes(folder / "int8.xml")
    (folder / "files.json").write_text(json.dumps(found))


def main() -> None:
    """Do what the arguments say."""
    command, options, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    names, setting = options["names"], Setting(**options["setting"])
    if command == "export":
        export(names[0], setting, folder)
    else:
        from exports.timing import measure

        measure(names, setting, folder)


if __name__ == "__main__":
    main()
