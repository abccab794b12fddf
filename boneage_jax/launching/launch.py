"""The command line that all of `launch/` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from boneage_jax.errors import UserError
from boneage_jax.files import local
from boneage_jax.launching import job
from boneage_jax.launching.job import Job


def main(
    about: str | None, run: Callable[[Job], int], show: Callable[[Job], str], arguments: Sequence[str] | None = None
) -> int:
    """Reads a job's file, and runs, submits or shows it; returns the exit status.

    Args:
      about: what the script does, for `--help`.
      run: does it.
      show: returns exactly what `run` would run or submit.
      arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=local, help="description of the job, as in launch/jobs/tiny.toml")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run or submitted, and do nothing")
    try:
        options = parser.parse_args(arguments)
        described = job.read(options.job)
        if options.dry_run:
            print(show(described), end="")
            return 0
        return run(described)
    except UserError as error:
        print(f"launch: {error}", file=sys.stderr)
        return error.exit_status
