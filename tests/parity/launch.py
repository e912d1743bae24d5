"""`MODULE:FUNCTION ARGUMENTS...` in: that program of another environment runs, as its console script would.

Beside a CPU build of torch the torchvision of PyPI cannot be imported, and nnU-Net's search for a trainer's class
imports it by way of timm. Two operators that it misses are declared first; no program calls them.
"""

import importlib
import sys


def main() -> None:
    """Import the module and call the function with the arguments that are left."""
    import torch  # noqa: PLC0415

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    module, function = sys.argv[1].split(":")
    sys.argv = [module, *sys.argv[2:]]
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
