"""multipart/related as it comes from the network (RFC 2046 5.1): blocks of bytes in, the parts' contents out."""

from collections.abc import Iterable, Iterator

_LONGEST_HEAD = 64 << 10


class MultipartBroken(ValueError):
    """What came is no multipart body, or it ends before its closing delimiter."""


def part_contents(blocks: Iterable[bytes], boundary: str) -> Iterator[tuple[int, bytes]]:
    """The contents of the parts, piece by piece, each with the number of its part from 1; their heads are dropped.

    A part comes in at least one piece, which may be empty. Holds little more than one block at a time. Raises
    MultipartBroken.
    """
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    buffer, number, in_head = bytearray(b"\r\n"), 0, False  # the first delimiter may stand at the very start
    for block in blocks:
        buffer += block
        while True:
            if in_head:
                if buffer.startswith(b"--"):
                    return
                if (at := buffer.find(b"\r\n\r\n")) < 0:
                    break
                del buffer[: at + 4]
                number, in_head = number + 1, False
            if (at := buffer.find(delimiter)) < 0:
                held = max(0, len(buffer) - len(delimiter) + 1)  # the rest may be the start of a delimiter
                yield from _piece(number, buffer, held)
                break
            yield from _piece(number, buffer, at)
            del buffer[: len(delimiter)]
            in_head = True
        if in_head and len(buffer) > _LONGEST_HEAD:
            raise MultipartBroken("a part has no end of its head")
    raise MultipartBroken("it ends within a part")


def _piece(number: int, buffer: bytearray, length: int) -> Iterator[tuple[int, bytes]]:
    """Take the front of the buffer, as content unless it precedes the first part."""
    content = bytes(buffer[:length])
    del buffer[:length]
    if number:
        yield number, content
