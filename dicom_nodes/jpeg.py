"""pydicom's missing decoders: JPEG Lossless (processes 14) and 12-bit JPEG Extended, by imagecodecs.

The usual plug-ins for these are under the GPL (pylibjpeg-libjpeg) or crashed the process in our tests (GDCM);
imagecodecs wraps libjpeg-turbo and a small decoder of its own, under BSD licences.
"""

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import (
    DecodeRunner,
    JPEGExtended12BitDecoder,
    JPEGLosslessDecoder,
    JPEGLosslessSV1Decoder,
)

_LOSSLESS = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1})
DECODER_DEPENDENCIES = dict.fromkeys((*_LOSSLESS, uid.JPEGExtended12Bit), ("imagecodecs",))
"""What pydicom names to the user where a decoder is missing."""
_PLUGIN = ("dicom_nodes.jpeg", "decode_frame")


def is_available(transfer_syntax: str) -> bool:
    """Tell pydicom whether this module decodes a transfer syntax."""
    return transfer_syntax in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """One frame's codestream to its little-endian bytes; raises ValueError where it is broken, as pydicom asks."""
    decode = imagecodecs.jpegsof3_decode if runner.transfer_syntax in _LOSSLESS else imagecodecs.jpeg8_decode
    try:
        values = np.asarray(decode(source))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the JPEG codestream is broken: {error}") from error
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def install() -> None:
    """Make the decoders known to pydicom, for this process."""
    for decoder in (JPEGLosslessDecoder, JPEGLosslessSV1Decoder, JPEGExtended12BitDecoder):
        if "imagecodecs" not in decoder.available_plugins:
            decoder.add_plugin("imagecodecs", _PLUGIN)
