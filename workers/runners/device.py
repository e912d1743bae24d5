"""Which device torch can run on here, and how much memory it has, or has no more."""

import gc

import torch

_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a memory",
    "ALLOC_FAILED",
)


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


def free_gpu_memory() -> int:
    """Bytes of the GPU that this process can take now: free ones, and those that torch keeps and does not use."""
    free, _ = torch.cuda.mem_get_info()
    return int(free) + int(torch.cuda.memory_reserved()) - int(torch.cuda.memory_allocated())


def says_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory did not suffice: the allocators of torch have no one class for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
