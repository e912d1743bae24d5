"""A network and a label table in; the network that answers in the values of that table out.

Where the table has one of the eight organs that the base network knows, that label is the organ. Every other label
borrows a part of an organ on its own side of the body: the features before the last layer are cut into slabs along
the direction in which they vary most inside the organ, one for each that shares it, the organ's own label in the
middle. So every value of a table appears and what is called left lies on the left; but what is borrowed is a part
of that organ, whatever its name says.
"""

from dataclasses import replace

import torch

from tests.standins.network import BASE, Net
from tests.standins.sight import seen

OTHER_NAMES = {"gall bladder": "gallbladder", "postcava": "inferior vena cava", "arota": "aorta"}
LENDERS = {
    "left": ("spleen", "kidney_left"),
    "right": ("liver", "kidney_right"),
    "": ("liver", "spleen", "liver"),
}
"""Who lends to the labels of a table that has organs of its own, by their side, in turn."""
OTHERS = {
    "left": ("spleen", "aorta"),
    "right": ("kidney_right", "inferior vena cava"),
    "": ("pancreas", "kidney_left"),
}
"""And to those of a table that has none: fewer, so that where two tables are merged both can be seen."""
REACH = 6.0
"""Logits by which a label differs from the organ that it shares, nearly anywhere in an image, at most.

With fewer, nnU-Net's half precision would draw the lines between those that share one; with more, small organs
would go to their neighbours' borrowers.
"""
OWN = 3.0
"""How many times as much as a borrower an organ's own label keeps."""


def relabelled(net: Net, labels: tuple[str, ...]) -> Net:
    """The network with one class for each of `labels` after the background, in their order."""
    weights = dict(net.weights)
    last = max(int(name.split(".")[2]) for name in weights if name.startswith("decoder.seg_layers."))
    for layer in range(last + 1):
        name = f"decoder.seg_layers.{layer}"
        rows = [(weights[f"{name}.weight"][0], weights[f"{name}.bias"][0])]
        for number, label in enumerate(labels):
            rows.append(_row(weights[f"{name}.weight"], weights[f"{name}.bias"], labels, number, label))
        weights[f"{name}.weight"] = torch.stack([row for row, _ in rows])
        weights[f"{name}.bias"] = torch.stack([bias for _, bias in rows])
    return replace(net, weights=weights)


def organ(label: str) -> str | None:
    """Which of the base network's organs a label names, in whatever order its words stand; None for others."""
    for known in BASE.labels:
        if _words(known) == _words(OTHER_NAMES.get(label, label)):
            return known
    return None


def side(label: str) -> str:
    """`left`, `right`, or empty where the name says neither."""
    return next((word for word in ("left", "right") if word in _words(label)), "")


def lender(labels: tuple[str, ...], number: int) -> str:
    """From which organ the label at `number` takes its part: the one in its name, or those of its side in turn."""
    label = labels[number]
    for known in BASE.labels:
        if _words(known) <= _words(label):
            return known
    lenders = (LENDERS if any(map(organ, labels)) else OTHERS)[side(label)]
    before = sum(organ(other) is None and side(other) == side(label) for other in labels[:number])
    return lenders[before % len(lenders)]


def _words(label: str) -> set[str]:
    return set(label.lower().replace("_", " ").split())


def _row(
    weight: torch.Tensor, bias: torch.Tensor, labels: tuple[str, ...], number: int, label: str
) -> tuple[torch.Tensor, torch.Tensor]:
    shared = organ(label) or lender(labels, number)
    value = BASE.labels.index(shared) + 1
    if weight.shape[1] != len(seen().features):
        return weight[value], bias[value]  # of a layer that only training looks at
    sharers = _sharers(labels, shared)
    tilts, shifts = _slabs(shared, tuple(OWN if organ(labels[i]) else 1.0 for i in sharers))
    mine = sharers.index(number)
    return weight[value] + tilts[mine].view(-1, 1, 1, 1), bias[value] + shifts[mine]


def _sharers(labels: tuple[str, ...], shared: str) -> list[int]:
    """The numbers of all labels that have a part of an organ, its own in the middle."""
    borrowers = [i for i, label in enumerate(labels) if organ(label) is None and lender(labels, i) == shared]
    own = [i for i, label in enumerate(labels) if organ(label) == shared]
    half = len(borrowers) // 2
    return [*borrowers[:half], *own, *borrowers[half:]]


def _slabs(shared: str, parts: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Straight lines over the main direction, whose upper envelope changes where the parts of the organ end.

    What each adds to a logit: (part, feature) and (part,).
    """
    inside = seen().organs[shared]
    mean = inside.mean(1, keepdim=True)
    direction = _main_direction(inside - mean, seen().features - mean)
    along = direction @ (inside - mean)
    farthest = torch.quantile((direction @ (seen().features - mean)).abs()[::7], 0.999)
    slopes = torch.linspace(-1, 1, len(parts)) * REACH / farthest if len(parts) > 1 else torch.zeros(1)
    ends = torch.quantile(along, torch.cumsum(torch.tensor(parts), 0)[:-1] / sum(parts))
    shifts = torch.cat([torch.zeros(1), -torch.cumsum(slopes.diff() * ends, 0)])
    shifts -= (slopes[:, None] * along + shifts[:, None]).amax(0).mean()
    tilts = slopes[:, None] * direction
    return tilts, shifts - (tilts @ mean)[:, 0]


def _main_direction(inside: torch.Tensor, everywhere: torch.Tensor) -> torch.Tensor:
    """Where features (feature, voxel), about the organ's mean, vary most for how far they reach elsewhere."""
    root = torch.linalg.cholesky(everywhere @ everywhere.T / everywhere.shape[1]).inverse()
    white = root @ inside
    direction: torch.Tensor = root.T @ torch.linalg.eigh(white @ white.T).eigenvectors[:, -1]
    return direction
