"""A coded concept or a colour → what stands for it in an object (PS3.3 section 8.8 and C.10.7.1.1)."""

from pydicom import Dataset
from pydicom.sr.coding import Code as DicomCode

from dicom_nodes.encode.explicit import element
from dicom_nodes.encode.identity import require_plain
from dicom_nodes.types import Code

_WHITE = (0.95047, 1.0, 1.08883)  # X, Y, Z of D65, the white of sRGB
_TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))  # IEC 61966-2-1
_LINEAR_BELOW = (6 / 29) ** 3  # CIE 15


def code_item(code: Code) -> Dataset:
    """Write the item of a code sequence; raise ResultUnsound where its meaning is not plain ASCII."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme
    item.CodeMeaning = require_plain("code meaning", code.meaning)
    return item


def code_elements(code: Code) -> bytes:
    """Encode the elements of such an item; raise ResultUnsound where its meaning is not plain ASCII."""
    meaning = element("CodeMeaning", require_plain("code meaning", code.meaning))
    return element("CodeValue", code.value) + element("CodingSchemeDesignator", code.scheme) + meaning


def standard_code(code: DicomCode) -> Code:
    """Take a code of pydicom's dictionary of the standard's own."""
    return Code(code.value, code.scheme_designator, code.meaning)


def cielab(rgb: tuple[int, int, int]) -> list[int]:
    """Turn an sRGB colour of 0 to 255 into L*, a*, b* as DICOM scales them: 0 to 65535 each."""
    linear = [_linear(channel / 255) for channel in rgb]
    xyz = [sum(weight * value for weight, value in zip(row, linear, strict=True)) for row in _TO_XYZ]
    x, y, z = (_cube_root(value / white) for value, white in zip(xyz, _WHITE, strict=True))
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    return [round(lightness * 0xFFFF / 100), round((a + 128) * 0xFFFF / 255), round((b + 128) * 0xFFFF / 255)]


def _linear(channel: float) -> float:
    """Undo the gamma of sRGB."""
    return float(((channel + 0.055) / 1.055) ** 2.4) if channel > 0.04045 else channel / 12.92


def _cube_root(value: float) -> float:
    return float(value ** (1 / 3)) if value > _LINEAR_BELOW else value * 841 / 108 + 4 / 29
