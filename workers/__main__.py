"""The worker processes: `python -m workers inference|results|segment ...`, started by the command `sagittal`."""

import sys

from workers.cli import main

if __name__ == "__main__":
    main(sys.argv[1:])
