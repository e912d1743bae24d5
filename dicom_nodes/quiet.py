"""pydicom in; pydicom that keeps to itself what it reads out.

When pydicom meets an odd value it warns, and logs, with the value in the text: a name or a birth date may be among
them. Whoever reads what others have written does so inside `quiet_pydicom()`.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Drop pydicom's warnings and its log records of this thread for as long as the block runs."""
    reading = threading.get_ident()

    def of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != reading

    logger = logging.getLogger("pydicom")
    logger.addFilter(of_another_thread)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(of_another_thread)
