"""Which device torch can run on here, and how much memory it has."""

import gc

import torch


def cuda_is_there() -> bool:
    """True where torch is a CUDA build and sees a GPU."""
    return bool(torch.cuda.is_available())


def gpu_memory() -> int:
    """Bytes of memory that the GPU has, whoever uses them."""
    _, total = torch.cuda.mem_get_info()
    return int(total)


def let_go(device: str) -> None:
    """Give the memory of what nobody refers to any more back to the host, and to the GPU where one is used."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
