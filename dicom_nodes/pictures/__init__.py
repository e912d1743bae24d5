"""Voxels and a label map → pictures of them: one sheet of a result, and the slices it was found in."""

from dicom_nodes.pictures.sheet import draw_sheet, headline, sheet, sheet_of

__all__ = ["draw_sheet", "headline", "sheet", "sheet_of"]
