"""Train the encoder that comes with the package, on images that are drawn during the training.

python tools/make/pretrain_encoder.py --output OUT [--steps 1400] [--device cuda] [--smoke]

OUT receives ``texture13.safetensors`` (float16), ``log.csv`` and ``resume.pt``. The same command continues after
Ctrl-C.
"""

from __future__ import annotations

import argparse
import csv
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event
from typing import Any

import timm
import torch
from safetensors.torch import save
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from anomalib_flows.core.files import atomic
from anomalib_flows.encoders import texture13
from pretraining.objective import loss
from pretraining.scenes import Photographs, draw

LEARNING_RATE, WEIGHT_DECAY, WARM_UP, COOL_DOWN = 2e-3, 0.02, 100, 0.25


class Drawings(Dataset[Photographs]):
    """Batches of a seed, each drawn when it is indexed."""

    def __init__(self, seed: int, start: int, steps: int, size: int, textures: int) -> None:
        self.seed, self.start, self.steps, self.size, self.textures = seed, start, steps, size, textures

    def __len__(self) -> int:
        return self.steps - self.start

    def __getitem__(self, index: int) -> Photographs:
        return draw(self.seed * 10**9 + self.start + index, self.size, self.textures)


class Pretraining:
    """The encoder and its optimizer after a number of steps."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options, self.step = options, 0
        self.recipe = {name: getattr(options, name) for name in ("steps", "size", "textures", "seed")}
        network = timm.create_model("texture13", features_only=True, out_indices=(1, 2, 3))
        self.network: Any = network.to(options.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def train_step(self, photographs: Photographs) -> float:
        """Take one step; the learning rate rises over the first steps and falls to zero over the last quarter."""
        left = 1 - self.step / self.options.steps
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (self.step + 1) / WARM_UP, left / COOL_DOWN)
        generator = torch.Generator().manual_seed((self.options.seed + 1) * 10**9 - 1 - self.step)
        with torch.autocast(self.options.device, torch.bfloat16):
            features = self.network(normalised(photographs.images.to(self.options.device)))
        value = loss(features, photographs, generator)
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return value.item()

    def save(self) -> None:
        """Write the weights in float16, and the state to resume from."""
        folder = self.options.output
        state = {k: v.half() for k, v in plain_state(self.network).items() if v.is_floating_point()}
        with atomic(folder / "texture13.safetensors") as temporary:
            temporary.write_bytes(save({k: v.cpu().contiguous() for k, v in state.items()}))
        parts = {name: getattr(self, name).state_dict() for name in ("network", "optimizer")}
        with atomic(folder / "resume.pt") as temporary:
            torch.save({"step": self.step, "recipe": self.recipe, **parts}, temporary)

    def resume(self) -> None:
        """Continue where an earlier run stopped."""
        state = torch.load(self.options.output / "resume.pt", map_location=self.options.device, weights_only=True)
        if state["recipe"] != self.recipe:
            raise SystemExit(f"{self.options.output} has another training, {state['recipe']}: name another folder.")
        self.step = state["step"]
        for name in ("network", "optimizer"):
            getattr(self, name).load_state_dict(state[name])


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Normalise images by the encoder's mean and standard deviation."""
    config = texture13.default_cfgs["texture13"].default
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (config.mean, config.std))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def plain_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights by their names without ``features_only``."""
    plain = timm.create_model("texture13")
    return dict(zip(plain.state_dict(), network.state_dict().values(), strict=True))


def main() -> None:
    """Train until the last step, or until Ctrl-C."""
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    pretraining = Pretraining(options)
    if (options.output / "resume.pt").exists():
        pretraining.resume()
    drawings = Drawings(options.seed, pretraining.step, options.steps, options.size, options.textures)
    loader = DataLoader(drawings, batch_size=None, num_workers=options.workers)
    stopped = Event()
    signal.signal(signal.SIGINT, lambda *_: stopped.set())  # stop between steps, never within one
    run(pretraining, loader, stopped)
    pretraining.save()
    if stopped.is_set():
        print(f"stopped after {pretraining.step} steps; the same command continues")


def run(pretraining: Pretraining, loader: Iterable[Photographs], stopped: Event) -> None:
    """Train on every batch, with a line in the log every 50 steps and the weights saved every 500 steps."""
    options, losses, began = pretraining.options, [], time.monotonic()
    with (options.output / "log.csv").open("a", newline="") as file:
        log = csv.writer(file)
        for photographs in tqdm(loader, initial=pretraining.step, total=options.steps, desc="pretraining", unit="step"):
            losses.append(pretraining.train_step(photographs))
            if len(losses) == 50 or pretraining.step == options.steps:
                log.writerow([pretraining.step, f"{sum(losses) / len(losses):.4f}", f"{time.monotonic() - began:.0f}"])
                file.flush()
                losses.clear()
            if pretraining.step % 500 == 0:
                pretraining.save()
            if stopped.is_set():
                break


def arguments() -> argparse.Namespace:
    """Parse and check the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--size", type=int, default=160, help="side of the drawn images")
    parser.add_argument("--textures", type=int, default=10, help="textures per batch, with four photographs each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true", help="two steps on tiny images, to check that it runs")
    options = parser.parse_args()
    if options.size % 16:
        parser.error("--size must be a multiple of 16")
    if options.smoke:
        options.steps, options.size, options.textures, options.workers = 2, 64, 5, 0
    return options


if __name__ == "__main__":
    main()
