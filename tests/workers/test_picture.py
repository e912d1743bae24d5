"""What was found is drawn before anybody decides on it, and a picture never costs a result."""

import numpy as np
import pytest
from PIL import Image

from dicom_nodes.reader import read_voxels
from dicom_nodes.types import Voxels
from service.jobs import JobState
from service.phantom.dicom import PhantomSeries
from tests.workers import test_infer
from workers.picture import keep_sheet
from workers.workshop import Workshop

series, shop = test_infer.series, test_infer.shop


@pytest.mark.parametrize(("submodel", "state"), [("finds", JobState.INFERRED), ("doubtful", JobState.HELD)])
def test_a_result_has_its_sheet_also_while_it_is_held(
    shop: Workshop, series: PhantomSeries, submodel: str, state: JobState
) -> None:
    job = test_infer.inferred(shop, submodel, series)
    assert job.state is state
    with Image.open(shop.folder(job.id).path / "sheet.png") as sheet:
        assert (sheet.format, sheet.mode) == ("PNG", "RGB")


def test_what_cannot_be_drawn_leaves_no_picture_of_an_earlier_result_and_breaks_nothing(
    shop: Workshop, series: PhantomSeries, caplog: pytest.LogCaptureFixture
) -> None:
    job = test_infer.inferred(shop, "finds", series)
    folder = shop.folder(job.id)
    first, voxels = folder.load_sheet(), read_voxels(folder.load_volume())
    keep_sheet(shop, job, Voxels(np.zeros((1, 2, 3), np.float32), voxels.affine))
    assert folder.load_sheet() is None
    assert "the picture could not be drawn" in caplog.text
    keep_sheet(shop, job, voxels)
    assert folder.load_sheet() == first
