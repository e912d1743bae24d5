"""A lumbar phantom as a model labels it that knows the sacrum, too: the vertebrae of TotalSegmentator MRI."""

from service.phantom.anatomy.trunk import trunk
from service.phantom.body import Phantom
from service.phantom.protocols import make_phantom
from service.phantom.render import render
from service.submodel import SubModel, load_submodels

VERTEBRAE: SubModel = next(each for each in load_submodels() if each.name == "totalsegmentator-vertebrae-mr")


def lumbosacral(seed: int) -> Phantom:
    """The image of the lumbar protocol, with the truth of the sacrum beside that of the vertebrae."""
    imaged = make_phantom("lumbar", seed, voxel_scale=4.0)
    labels = {label.name.replace("vertebrae_", "Vertebrae "): label.value for label in VERTEBRAE.label}
    anatomy = trunk(seed)
    absent = frozenset(name for name, middle in anatomy.middles.items() if not imaged.acquisition.holds(middle))
    return render(
        anatomy, imaged.acquisition, seed, protocol="lumbar", labels=labels, contrast=imaged.contrast, absent=absent
    )
