"""Real series of many scanners: the volumes that were verified by hand."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dicom_nodes.errors import Rule
from dicom_nodes.headers import by_series, read_headers
from dicom_nodes.volumes import find_volumes
from tests import real_data
from tests.dicom_nodes.series import rules_of

VERIFIED = {
    # folder: (plane, slices, name) of each volume, rules of what is left out
    "prostate/px0001_adc": ([("axial", 19, "")], []),
    "prostate/px0001_calc_b1000": ([("axial", 19, "")], []),
    "prostate/px0001_dwi_b50_400_800": (
        [("axial", 19, "b 50"), ("axial", 19, "b 400"), ("axial", 19, "b 800")],
        [],
    ),
    "prostate/px0001_loc_sag": ([("sagittal", 3, "")], []),
    "prostate/px0001_localizer_3plane": ([], [Rule.ORIENTATION]),
    "prostate/px0001_t2_cor": ([("coronal", 15, "")], []),
    "prostate/px0001_t2_sag": ([("sagittal", 19, "")], []),
    "prostate/px0001_t2_tra": ([("axial", 19, "")], []),
    "prostate/px0001_tfl3d_pd": ([("axial", 16, "")], []),
    "knee/pymskt_ge_mese_sag_e1_e5": ([("sagittal", 24, "echo 1"), ("sagittal", 24, "echo 5")], []),
    "knee/weasis_enhanced_j2k_fragments": ([], [Rule.MOVIE]),
    "vendors/philips_elition_enhanced_tse": ([("axial", 12, "")], []),
    "vendors/d2n_philips_enhanced_sag8": ([("sagittal", 8, "")], []),
    "vendors/siemens_xa30_dwi_pa": ([("axial", 39, "b 0"), ("axial", 39, "b 2500")], []),
    "vendors/siemens_xa30_colfa": ([], [Rule.COLOUR]),
    "vendors/ge_premier_fmri_hfs_5t": ([("axial", 10, f"time {n}") for n in (1, 2, 3, 4, 5)], []),
    "vendors/ge_premier_localizer_ffs": ([], [Rule.ORIENTATION]),
    "vendors/canon_galan_dti_cor20_2vol": ([("axial", 20, "b 0"), ("axial", 20, "b 1500")], []),
    "phantom/hazen_canon_galan_slicepos": ([("axial", 10, "")], []),
    "phantom/hazen_ge_artist_t1": ([("axial", 11, "")], []),
    "phantom/hazen_philips_achieva_3t_t1": ([("axial", 11, "")], []),
    "phantom/hazen_philips_t2_multiecho": ([], [Rule.TOO_FEW]),
    "phantom/hazen_siemens_sola_enhanced_dwi": ([], [Rule.MOVIE]),
    "phantom/hazen_siemens_sola_enhanced_localizer3": ([], [Rule.ORIENTATION]),
    "phantom/hazen_siemens_sola_enhanced_t1": ([("axial", 11, "")], []),
    "phantom/imagedata_dynamic_3pos_3t": ([("coronal", 3, f"acquisition {n}") for n in (1, 2, 3)], []),
    "tricky/clunie_mr_no_meta_pynetdicom_be": ([], [Rule.TOO_FEW]),
    "tricky/d2n_ct_gantry_tilt": ([], [Rule.MODALITY]),
    "tricky/d2n_j2k_lossless_trio": ([("sagittal", 4, "")], []),
    "tricky/d2n_slicecount_fail": ([], [Rule.TOO_FEW]),
    "tricky/philips_elition_rawdata": ([], [Rule.SOP_CLASS]),
    "tricky/siemens_hfdr_t1_sag": ([("sagittal", 7, "")], []),
    "tricky/siemens_trio_9_transfer_syntaxes": ([], [Rule.MOSAIC]),
    "malformed/pydicom_emri_small_encodings": ([], [Rule.GEOMETRY]),
}


@cache
def headers_of(name):
    return read_headers(real_data.files(name))


@pytest.mark.parametrize("name", VERIFIED)
def test_real_series_hold_the_volumes_that_were_verified_by_hand(name):
    content = find_volumes(headers_of(name))

    volumes, rules = VERIFIED[name]
    assert [(volume.plane.value, volume.shape[0], volume.name) for volume in content.volumes] == volumes
    assert rules_of(content) == rules


@real_data.needed
@pytest.mark.parametrize("name", real_data.folders())
def test_every_real_file_lies_in_a_volume_or_has_a_reason(name):
    headers = headers_of(name)

    content = find_volumes(headers)

    told = {volume.series_uid for volume in content.volumes} | {error.series_uid for error in content.left_out}
    assert set(by_series(headers)) <= told
    assert len(content.explain()) == len(content.volumes) + len(content.left_out) > 0
    for volume in content.volumes:
        assert len(set(volume.frames)) == volume.shape[0]
        assert np.linalg.det(volume.affine[:3, :3]) > 0
        assert min(volume.spacing_mm) > 0.1


def test_a_real_decubitus_series_keeps_its_turned_orientation():
    (volume,) = find_volumes(read_headers(real_data.files("tricky/siemens_hfdr_t1_sag"))).volumes

    assert volume.facts["PatientPosition"] == "HFDR"
    assert volume.spacing_mm == pytest.approx((4.8, 1.015625, 1.015625), abs=1e-3)


def test_a_real_truncated_file_is_named():
    folder = real_data.folder("malformed/pydicom_test_files")

    (header,) = read_headers([Path(folder / "MR_truncated.dcm")]).read

    assert header.pixel_fault == (Rule.TRUNCATED, "8130 of 8192 bytes of pixel data are there")
