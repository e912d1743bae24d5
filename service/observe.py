"""Logs as events with fields, one line each; no patient attribute ever goes into one."""

import logging
import sys
import time
import warnings


class _Fields(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        at = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z"
        fields = "".join(f" {k}={_quoted(v)}" for k, v in getattr(record, "fields", {}).items())
        text = f"{at} {record.levelname:<7} {record.processName}: {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if (" " in text or not text) else text


def log_to_stderr(process: str, level: int = logging.INFO) -> None:
    """Set up logging for one process; called where the process starts."""
    import multiprocessing  # noqa: PLC0415  # only to name the process

    multiprocessing.current_process().name = process
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Fields())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # pydicom quotes values it finds invalid, and those may be a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    for noisy in ("pynetdicom", "kombu", "celery.app", "celery.worker.strategy", "numexpr", "alembic", "highdicom"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # every request, which the delivery tells of already


def event(log: logging.Logger, level: int, what: str, **fields: object) -> None:
    """Log one event with its fields."""
    log.log(level, what, extra={"fields": fields})
