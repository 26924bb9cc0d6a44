"""How does a network learn, step by step, so that an interruption leaves no trace?

The loop knows no scheduler and no terminal: it is told to stop by a flag, and tells a listener how
far it is. After every epoch, and when it is told to stop, everything that decides what follows is
on disk; from there the same steps follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor, nn

from jobs.patches.loader import Batch
from jobs.training.config import TrainConfig
from jobs.training.evaluate import means
from jobs.training.losses import build_loss
from jobs.training.optimize import (
    Average,
    Schedule,
    build_optimizer,
    expect,
    pick_device,
    pick_precision,
)
from jobs.training.state import Progress, Row, load_state, save_state
from jobs.unet.network import build_network
from jobs.unet.weights import load_network, with_channels
from lamstore.errors import EngineError

Batches = Callable[[int], Iterator[Batch]]
"""Batches from a step to the end."""
Validate = Callable[[nn.Module], list[Row]]
"""Rows of all validation scans."""
Listener = Callable[[Progress], None]
"""Hears of every step."""


@dataclass(frozen=True)
class Files:
    """What a run leaves."""

    folder: Path

    @property
    def state(self) -> Path:
        """Everything to go on from."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """Averaged weights of the best validation; of the end when nobody validates."""
        return self.folder / "best.safetensors"


def _beginning(config: TrainConfig) -> nn.Module:
    """The network before the first step: fresh from the seed, or an earlier run's."""
    if config.initial is None:
        module = build_network(config.spec)
        expect(module, config.prior)
        return module
    return with_channels(*load_network(config.initial), config.spec).train()


class Trainer:
    """One training in memory.

    Parameters
    ----------
    config : TrainConfig
    recipe : str
        Digest of what decides the training: the state of another is refused.
    files : Files
    keep : callable
        Writes the module's present weights as the best.
    """

    def __init__(
        self, config: TrainConfig, recipe: str, files: Files, keep: Callable[[nn.Module], None]
    ) -> None:
        self.config, self.recipe, self.files, self._keep = config, recipe, files, keep
        self.device = pick_device(config)
        self._precision = pick_precision(config, self.device)
        torch.manual_seed(config.seed)
        self.module = _beginning(config).to(self.device)
        near = config.channels_last
        self._format = torch.channels_last_3d if near else torch.contiguous_format
        self.module.to(memory_format=self._format)  # type: ignore[call-overload]
        self.average = Average(self.module, config.ema)
        self.optimizer = build_optimizer(self.module, config.optimizer)
        self.schedule = Schedule(config.schedule, config.optimizer.lr, config.steps)
        self._loss = build_loss(config.loss)
        self._scaler = torch.amp.GradScaler(
            self.device.type, enabled=self._precision == torch.float16
        )
        self._forward: Callable[[Tensor], Tensor] = self.module
        if config.compile:
            self._forward = torch.compile(self.module)
        self.progress = Progress()
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)

    def restore(self) -> None:
        """Go on from the run's state."""
        self.progress, parts = load_state(self.files.state, self.recipe)
        self.module.load_state_dict(parts["module"])
        for name, tensor in parts["average"].items():
            self.average.shadow[name].copy_(tensor)
        self.optimizer.load_state_dict(parts["optimizer"])
        self._scaler.load_state_dict(parts["scaler"])
        self.schedule.restore(parts["schedule"])
        self._loss_sum.fill_(self.progress.loss_sum)

    def save(self) -> None:
        """Write the run's state."""
        self.progress.loss_sum = float(self._loss_sum)
        parts: dict[str, Any] = {
            "module": self.module.state_dict(),
            "average": self.average.shadow,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "schedule": self.schedule.state(),
        }
        save_state(self.files.state, self.recipe, self.progress, parts)

    def run(self, batches: Batches, validate: Validate, listen: Listener, stop: Event) -> bool:
        """Train to the end, or until told to stop; whether it is over."""
        progress, config = self.progress, self.config
        self.module.train()
        ready = None if progress.ended else batches(progress.step)
        while ready is not None and not progress.ended and not stop.is_set():
            begun = time.perf_counter()
            try:
                batch = next(ready)
            except RuntimeError:
                if stop.wait(1):  # the workers were told to stop as well, and were faster
                    break
                raise
            self._step(batch)
            progress.step += 1
            progress.epoch_s += time.perf_counter() - begun
            listen(progress)
            if progress.step % config.steps_per_epoch == 0:
                self._end_epoch(validate)
                self.save()
                listen(progress)
        if not progress.ended:
            self.save()
        close = getattr(ready, "close", None)
        if close is not None:
            with suppress(RuntimeError):
                close()
        return bool(progress.ended)

    def _step(self, batch: Batch) -> None:
        step = self.progress.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(step)
        image = batch.image.to(self.device, non_blocking=True, memory_format=self._format)
        truth = batch.label.to(self.device, non_blocking=True).float()
        narrow = self._precision != torch.float32
        with torch.autocast(self.device.type, self._precision, enabled=narrow):
            output = self._forward(image)
        loss = self._loss(output.float(), truth)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.config.grad_clip is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), self.config.grad_clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.average.update(step)
        self._loss_sum += loss.detach()

    def _end_epoch(self, validate: Validate) -> None:
        progress, config = self.progress, self.config
        epoch = progress.step // config.steps_per_epoch
        loss = float(self._loss_sum) / config.steps_per_epoch
        if not isfinite(loss):
            raise EngineError(
                f"the training of {config.name} has come apart in epoch {epoch}",
                got=f"a loss of {loss}",
                remedy="lower optimizer.lr, or set precision to float32",
            )
        self._loss_sum.zero_()
        last = progress.step >= config.steps
        found = dict.fromkeys(means([]), nan)
        if last or epoch % config.validate_every == 0:
            found = self._validate(validate, epoch)
        patches = config.steps_per_epoch * config.batch
        progress.rows.append(
            {
                "epoch": epoch,
                "step": progress.step,
                "loss": loss,
                "learning_rate": self.schedule.rate(progress.step - 1),
                **found,
                "seconds": round(progress.epoch_s, 3),
                "patches_per_s": round(patches / max(progress.epoch_s, 1e-9), 3),
            }
        )
        progress.total_s += progress.epoch_s
        progress.epoch_s = 0.0
        patience = config.patience
        if last:
            progress.ended = "all epochs done"
        elif patience is not None and progress.waited >= patience:
            progress.ended = f"no better Dice in {patience} validations"

    def _validate(self, validate: Validate, epoch: int) -> dict[str, float]:
        progress = self.progress
        with self.average.applied() as module:
            rows = validate(module)
            found = means(rows)
            score = found["dice"]
            if not rows or score > progress.best:
                self._keep(module)
                progress.best_epoch, progress.waited = epoch, 0
                progress.best = score if rows else progress.best
            else:
                progress.waited += 1
        if rows:
            self.schedule.saw(score)
        progress.cases += [{"epoch": epoch, **row} for row in rows]
        return found
