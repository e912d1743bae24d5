"""The GPUs that torch sees, with their memory, and the CUDA that it was built for."""

import torch


def gpus() -> tuple[tuple[str, int], ...]:
    """Name and bytes of memory of each; none where torch sees no GPU."""
    if not torch.cuda.is_available():
        return ()
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return tuple((str(each.name), int(each.total_memory)) for each in found)


def cuda_version() -> str:
    """Of CUDA, as torch was built for it; empty where it was built without."""
    return str(torch.version.cuda or "")
