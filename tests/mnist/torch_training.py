"""The recipe `fast` as a PyTorch script of its own, for the time `jaxcnn train` is held against.

    python tests/mnist/torch_training.py FOLDER [--seed N]

The same network, initial distribution, batches, optimiser, schedule and evaluations, in the mode
that is PyTorch's fastest here (eager, channels last). FOLDER holds MNIST's four IDX files, plain
or gzipped. It imports nothing of jaxcnn, whose JAX would count against PyTorch. The time is the
process's own: `time python tests/mnist/torch_training.py FOLDER` beside `time jaxcnn train`.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH, EPOCHS, PEAK, EVALUATION_BATCH = 128, 4, 4e-3, 500


class Network(nn.Module):
    """The post's network, its weights drawn N(0, 2 / fan in)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5, padding=2), nn.Conv2d(4, 4, 5, padding=2)
        self.conv3, self.conv4 = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.dense1, self.dense2 = nn.Linear(16 * 7 * 7, 128), nn.Linear(128, 10)
        convs = (self.conv1, self.conv2, self.conv3, self.conv4)
        for layer in (*convs, self.dense1, self.dense2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits `[N, 10]` of images `[N, 1, 28, 28]`."""
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.max_pool2d(x, 2)
        return self.dense2(F.relu(self.dense1(x.flatten(1))))


def read(folder: Path, name: str) -> torch.Tensor:
    """An IDX file as a tensor of bytes."""
    path = folder / f"{name}-ubyte"
    content = path.read_bytes() if path.is_file() else gzip.open(f"{path}.gz").read()
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    return torch.from_numpy(
        np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
    )


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Bytes `[N, 28, 28]` as the network's input."""
    x = images.unsqueeze(1).to(torch.float32) / 255
    return x.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def evaluate(network: Network, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean cross entropy and accuracy."""
    z = torch.cat([network(pixels(part)) for part in images.split(EVALUATION_BATCH)])
    accuracy = (z.argmax(1) == labels).float().mean().item()
    return F.cross_entropy(z, labels).item(), accuracy


def main() -> None:
    """Train for four epochs; print the accuracies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)

    folder = arguments.folder
    images, test_images = (read(folder, f"{name}-images-idx3") for name in ("train", "t10k"))
    labels, test_labels = (read(folder, f"{name}-labels-idx1").long() for name in ("train", "t10k"))
    validation_images, validation_labels = images[50_000:], labels[50_000:]
    images, labels = images[:50_000], labels[:50_000]

    network = Network()
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    # Optax's nadam has no decay of its momentum.
    optimizer = torch.optim.NAdam(
        network.parameters(), lr=PEAK, betas=(0.9, 0.99), momentum_decay=0
    )
    steps = EPOCHS * (len(images) // BATCH)
    warmup = steps // 5
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup, PEAK / 1000),
        ],
        [warmup],
    )
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(len(images))
        seen = []
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(pixels(images[batch])), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
            seen.append(loss.detach())
        mean = torch.stack(seen).mean().item()
        _, validation = evaluate(network, validation_images, validation_labels)
        _, test = evaluate(network, test_images, test_labels)
        print(
            f"epoch {epoch}  loss {mean:.4f}  validation {validation:.4f}  test {test:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
