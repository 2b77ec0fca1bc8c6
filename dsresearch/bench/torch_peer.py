"""PyTorch, written to be fast: fused grouped convolutions, channels last, pictures resident, fused optimiser.

Eager or compiled. No jax here: this runs in a process of its own.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dsresearch.bench.cases import Case
from dsresearch.bench.layers import AvgPool, Between, Conv, Layer, Weights, blocks
from dsresearch.bench.pictures import SCORED, pictures_of

BN_MOMENTUM, BN_EPSILON = 0.1, 1e-5  # PyTorch's momentum is one minus Flax's
MARGIN = 4  # pixels by which a picture is shifted at most
COMPILED = {"torch_compile": "default", "torch_graphs": "reduce-overhead"}  # role to mode of torch.compile


class Towers(nn.Module):
    """Towers on one input, their outputs concatenated."""

    def __init__(self, towers: list[nn.Module]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([tower(x) for tower in self.towers], dim=1)


class Stack(nn.Module):
    """Logits [N, classes] of pictures [N, C, H, W]; `places` finds a layer by the name that its weights go by."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.places: dict[str, nn.Module] = {}
        self.stem = self._kept("stem", nn.Conv2d(case.channels, case.width, 3, padding=1, bias=False))
        self.stem_norm = self._norm("stem_norm", case.width)
        self.blocks = list(blocks(case.design, case.image))
        self.bodies = nn.ModuleList(self._sequence(block.layers, block.name) for block in self.blocks)
        self.norms = nn.ModuleList(self._norm(f"{block.name}_norm", block.outputs) for block in self.blocks)
        self.head = self._kept("head", nn.Linear(case.design.widths[-1], case.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        for block, body, norm in zip(self.blocks, self.bodies, self.norms, strict=True):
            if block.pool:
                x = functional.max_pool2d(x, 2)
            y = body(x)
            x = functional.relu(norm(x + y if block.residual else y))
        pooled = x.float().mean((2, 3))
        with torch.autocast(x.device.type, enabled=False):  # the head in float32, as ours
            return self.head(pooled)

    def load(self, weights: Weights) -> None:
        """Take our parameters (`layers.weights`)."""
        assert self.places.keys() == weights.keys()
        with torch.no_grad():
            for name, arrays in weights.items():
                place = self.places[name]
                for ours, array in arrays.items():
                    own = place.get_parameter("weight" if ours in ("kernel", "scale") else "bias")
                    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]  # HWIO to OIHW, [C, n] to [n, C]
                    own.copy_(torch.tensor(np.ascontiguousarray(array.transpose(axes))))

    def _kept(self, name: str, layer: nn.Module) -> nn.Module:
        self.places[name] = layer
        return layer

    def _norm(self, name: str, channels: int) -> nn.Module:
        return self._kept(name, nn.BatchNorm2d(channels, eps=BN_EPSILON, momentum=BN_MOMENTUM))

    def _sequence(self, layers: tuple[Layer, ...], block: str) -> nn.Module:
        out: list[nn.Module] = []
        for layer in layers:
            if isinstance(layer, Conv):
                conv = nn.Conv2d(
                    layer.inputs,
                    layer.outputs,
                    layer.kernel,
                    padding=layer.kernel // 2,
                    groups=layer.groups,
                    bias=False,
                )
                out.append(self._kept(f"{block}_{layer.name}", conv))
            elif isinstance(layer, Between):
                out += [self._norm(f"{block}_{layer.name}", layer.channels)] if layer.normalise else []
                activations: dict[str, nn.Module] = {"relu": nn.ReLU(inplace=True), "elu": nn.ELU(inplace=True)}
                out += [activations[layer.activation]] if layer.activation in activations else []
            elif isinstance(layer, AvgPool):
                k = layer.window
                out.append(nn.AvgPool2d(k, stride=1, padding=k // 2, count_include_pad=False))
            else:
                out.append(Towers([self._sequence(tower, block) for tower in layer.towers]))
        return out[0] if len(out) == 1 else nn.Sequential(*out)


class TorchPeer:
    """A case made ready; `run` does so many steps (or scores so many batches) and waits for the end."""

    def __init__(self, case: Case, role: str = "torch") -> None:
        self.case = case
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.padded, self.labels = self._resident(*pictures_of(case))
        self.network = Stack(case).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        rest = [p for p in self.network.parameters() if p.ndim == 1]
        groups = [{"params": decayed, "weight_decay": case.recipe.decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimiser = torch.optim.SGD(groups, lr=0.1, momentum=case.recipe.momentum, nesterov=True, fused=True)
        self.loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = self._loss
        self.logits_of: Callable[[torch.Tensor], torch.Tensor] = self._logits
        self.graphs = role == "torch_graphs"
        if role in COMPILED:
            torch.compiler.reset()  # past a number of networks it would silently go on uncompiled
            self.loss_of = torch.compile(self._loss, mode=COMPILED[role])
            self.logits_of = torch.compile(self._logits, mode=COMPILED[role])
        self.steps = 0
        self.run(3)  # compiles, and takes the ways that its libraries choose among

    def _resident(self, images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures padded once and labels, on the device."""
        around = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
        padded = torch.tensor(np.pad(images, around)).to(self.device)
        return padded, torch.tensor(labels, dtype=torch.int64).to(self.device)

    # --- a step ---

    def augmented(self, indices: torch.Tensor, shifts: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
        """Pictures uint8 [N, H, W, C] shifted by [N, 2] pixels over black and mirrored where flips [N] is true."""
        side = torch.arange(self.case.image, device=self.device)
        columns = torch.where(flips[:, None], side.flip(0)[None], side[None]) + shifts[:, 1:]
        rows = side[None] + shifts[:, :1]
        return self.padded[indices[:, None, None], rows[:, :, None], columns[:, None, :]]

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One step on uint8 pictures [N, H, W, C]; gives the mean loss, still on the device."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.steps)
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        loss = self.loss_of(images, labels)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.steps += 1
        return loss.detach()

    def rate(self, done: int) -> float:
        """The study's schedule: a linear rise, then a cosine to zero, over the recipe's steps."""
        recipe, steps = self.case.recipe, self.case.steps * self.case.recipe.epochs
        rise = max(1, round(recipe.warmup * steps))
        fallen = min(max((done - rise) / max(steps - rise, 1), 0.0), 1.0)
        return recipe.rate * min((done + 1) / rise, 0.5 * (1 + math.cos(math.pi * fallen)))

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        x = (images.permute(0, 3, 1, 2).float() - 127.5) / 63.75  # NHWC in memory: channels last already
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.case.dtype == "bfloat16"):
            return self.network(x)

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(self._logits(images), labels)

    # --- what is measured ---

    def run(self, times: int) -> int:
        """Do so many steps; gives the images done."""
        done = self._score(times) if self.case.mode == "inference" else self._train(times)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return done

    def _train(self, times: int) -> int:
        self.network.train()
        for _ in range(times):
            place = self.steps % self.case.steps
            if place == 0:
                self.order = torch.randperm(self.case.n_train, device=self.device).view(self.case.steps, -1)
            indices = self.order[place]
            shifts = torch.randint(0, 2 * MARGIN + 1, (len(indices), 2), device=self.device)
            flips = torch.rand(len(indices), device=self.device) < 0.5
            self.step(self.augmented(indices, shifts, flips), self.labels[indices])
        return times * self.case.batch

    def _score(self, times: int) -> int:
        self.network.eval()
        images = self.padded[:SCORED, MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous()
        with torch.inference_mode():
            for _ in range(times):
                self.logits_of(images).argmax(1)
        return times * len(images)

    def losses(self, images: np.ndarray, labels: np.ndarray, steps: int) -> list[float]:
        """The losses of so many steps on one batch, without augmentation, from the first step of the schedule."""
        self.steps = 0
        self.optimiser.state.clear()
        self.network.train()
        batch = torch.tensor(images).to(self.device), torch.tensor(labels, dtype=torch.int64).to(self.device)
        return [float(self.step(*batch)) for _ in range(steps)]


def prepare(threads: int) -> None:
    """PyTorch's own switches for speed, before a network is made."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32 in float32 products on a GPU, as JAX's default
