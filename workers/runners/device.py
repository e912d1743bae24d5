"""Which device torch can run on here."""

import torch


def cuda_is_there() -> bool:
    """True where torch is a CUDA build and sees a GPU."""
    return bool(torch.cuda.is_available())
