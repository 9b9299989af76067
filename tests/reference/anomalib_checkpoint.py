"""Train a model with anomalib for one epoch, and save its checkpoint with its maps of some images.

It runs in an environment with anomalib: python anomalib_checkpoint.py fastflow|cflow FOLDER, where FOLDER/good holds
images.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(name: str, folder: Path) -> None:
    import torch
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Cflow, Fastflow

    torch.manual_seed(0)
    size = (64, 96)
    model: Any
    options: dict[str, Any]
    if name == "fastflow":
        options = {"flow_steps": 3, "hidden_ratio": 0.16, "pre_processor": Fastflow.configure_pre_processor(size)}
        model = Fastflow("resnet18", pre_trained=False, evaluator=False, **options)
    else:
        options = {"condition_vector": 32, "coupling_blocks": 2, "clamp_alpha": 1.7, "permute_soft": "soft" in name}
        options |= {"fiber_batch_size": 16, "layers": ("layer1", "layer3")}
        options |= {"pre_processor": Cflow.configure_pre_processor(size)}
        model = Cflow("resnet18", pre_trained=False, evaluator=False, **options)
    data = Folder("good", normal_dir=folder / "good", train_batch_size=4, eval_batch_size=4, num_workers=0)
    engine = Engine(max_epochs=1, accelerator="cpu", default_root_dir=folder / "results", logger=False)
    engine.fit(model, datamodule=data)
    engine.trainer.save_checkpoint(folder / "model.ckpt")
    images = torch.randn(3, 3, *size)
    with torch.no_grad():
        maps = model.model.eval()(images).anomaly_map
    torch.save({"images": images, "maps": maps.view(3, 1, *size)}, folder / "maps.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
