"""`boneage COMMAND`: parses and dispatches, holds no logic.

Each module declares some commands, and what each of them calls: the package that does the work is imported there.

Exit status: 0 done; 2 input that the user can mend; 3 the loss is not finite; 4 done, but some of the input could not
be used, each with a row that has the reason; 75 told to stop, saved, to be started again; 76 another process of the run
has ended; 77 another training is under way in the folder; 130 interrupted from the keyboard.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from boneage_jax import NOT_A_MEDICAL_DEVICE, __version__, environment, errors, renamed
from boneage_jax.cli import compare, data, hands, models, runs, serve
from boneage_jax.cli.options import command
from boneage_jax.config.loading import is_config_argument
from boneage_jax.options import request_of
from boneage_jax.workflows.requests import DemoRequest


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    is_program = arguments is None
    environment.prepare()
    environment.write_any_text()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options, config_arguments = _parse(arguments)
        if is_program:  # and not `--help`, or a mistyped option
            environment.start_again()
        status = options.run_command(options, config_arguments)
        sys.stdout.flush()
        return status or 0
    except errors.UserError as error:
        print(f"boneage: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("boneage: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"{error.filename or 'writing'}: {error.strerror or error}"
        todo = "; name a folder that can be written to in TMPDIR" if "temporary directory" in what else ""
        print(f"boneage: {what}{todo}", file=sys.stderr)
        return errors.EXIT_BAD_INPUT
    except MemoryError:
        print("boneage: out of memory; take fewer images at once (a smaller batch size)", file=sys.stderr)
        return errors.EXIT_BAD_INPUT
    except Exception as error:
        # Known only once JAX is loaded, which plain `--help` need not wait for.
        status = getattr(error, "exit_status", None)
        if status is None:
            without = environment.no_devices()  # whatever came of it, this is the cause
            if not without:
                raise
            print(f"boneage: {without}", file=sys.stderr)
            return errors.EXIT_BAD_INPUT
        print(f"boneage: {error}", file=sys.stderr)
        return int(status)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits `--config...` from the rest, which argparse knows."""
    if arguments and (now := renamed.COMMANDS.get(arguments[0])):
        print(f"boneage: the command {arguments[0]} is called {now} now; the old name will go", file=sys.stderr)
        arguments = [now, *arguments[1:]]
    config_arguments: list[str] = []
    own: list[str] = []
    takes_value = False
    for argument in arguments:
        if takes_value or is_config_argument(argument):
            config_arguments.append(argument)
            takes_value = not takes_value and "=" not in argument
        else:
            own.append(argument)
    options = parser().parse_args(own)
    if config_arguments and not options.takes_config:
        raise errors.UserError(f"{config_arguments[0]}: boneage {options.name} takes no config; see its --help")
    return options, config_arguments


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands: what `boneage` reads, and what the reference of commands is written from."""
    parser = argparse.ArgumentParser(
        prog="boneage",
        description=f"Bone age, in months, from hand radiographs. {NOT_A_MEDICAL_DEVICE}",
        epilog="example: boneage demo --out boneage_demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"boneage-jax {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    for group in (data, hands, serve, models, compare, runs):
        group.add(commands)
    command(
        commands,
        "demo",
        _demo,
        summary="everything on phantoms: build, train, evaluate, report",
        example="boneage demo --out boneage_demo",
        request=DemoRequest,
        takes_config=True,
    )
    return parser


def _demo(options: argparse.Namespace, config_arguments: list[str]) -> None:
    from boneage_jax.workflows import demo

    print(demo.demo(request_of(DemoRequest, options), config_arguments))
