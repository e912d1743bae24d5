"""A clock for what asks the time."""


class Clock:
    """Stands until a test sets its `time`."""

    def __init__(self, time: float = 1000.0) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time
