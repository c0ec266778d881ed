"""The command line: its commands, and how every error becomes one line and an exit code."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from excite.cli import (
    audit,
    cache,
    compare,
    doctor,
    evaluate,
    explain,
    export,
    predict,
    report,
    serve,
    shard,
    sites,
    split,
    summary,
    train,
)
from excite.cli.output import print_error
from excite.cli.streams import quiet_libraries, write_lookalikes
from excite.cli.study import commands
from excite.errors import BAD_USAGE, FAILED, INTERRUPTED, TERMINATED, ExciteError
from excite.system.progress import QUIET
from excite.version import __version__

app = typer.Typer(
    name="excite",
    help="Image classification with channel attention: train on a folder of images, evaluate honestly, and "
    "use the classifier.",
    epilog="Start with: excite train digits",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    audit,
    split,
    shard,
    train,
    commands,
    evaluate,
    report,
    compare,
    predict,
    explain,
    export,
    serve,
    summary,
    sites,
    cache,
    doctor,
):
    verb.add_to(app)


def _join_lines(group: typer.Typer) -> None:
    """Join the lines of each paragraph of a help text; Typer's rich mode would keep them apart."""
    for command in group.registered_commands:
        paragraphs = inspect.cleandoc(command.help or getattr(command.callback, "__doc__", None) or "")
        command.help = "\n\n".join(text.replace("\n", " ") for text in paragraphs.split("\n\n"))
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _join_lines(inner.typer_instance)


_join_lines(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"excite {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Print the traceback of an error."),
    quiet: bool = typer.Option(False, "--quiet", help="Show no progress; results and errors are printed."),
) -> None:
    pass


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    first = os.environ.get("RANK", "0") == "0"  # of several processes, one prints
    if not first:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (open until the process ends)
    debug, quiet = "--debug" in arguments, "--quiet" in arguments
    # Accepted before or after the command.
    arguments = [argument for argument in arguments if argument not in ("--debug", "--quiet")]
    write_lookalikes()
    before = QUIET.set(quiet)
    try:
        with quiet_libraries(debug):
            return _run(arguments, first, debug)
    finally:
        QUIET.reset(before)


def _run(arguments: list[str], first: bool, debug: bool) -> int:
    try:
        result = app(arguments, prog_name="excite", standalone_mode=False)
        if result == INTERRUPTED:  # typer turns KeyboardInterrupt into this exit code
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except ExciteError as error:
        if debug:
            raise
        if not first:  # all processes raise the same error
            return error.exit_code
        kind = "" if error.exit_code in (INTERRUPTED, TERMINATED) else "error: "
        return _fail(error.message, error.exit_code, error.hint, kind=kind)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED, kind="")
    except BrokenPipeError:  # the reader of our output has gone, as in excite ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if debug:
            raise
        return _fail(f"{error.filename or 'file system'}: {(error.strerror or str(error)).lower()}", FAILED)
    except ModuleNotFoundError as error:  # excite installed without its extra train
        name = (error.name or "").partition(".")[0]
        if debug or name in ("", "excite"):
            raise
        hint = 'pip install "excite[train]"'
        return _fail(f"this command needs {name}, which is not installed", FAILED, hint)
    except Exception as error:
        if hasattr(error, "format_message"):  # wrong usage; where its class comes from varies with typer
            message = error.format_message()
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "excite"
            return _fail(message, BAD_USAGE, f"{command} --help") if message else BAD_USAGE
        if debug:
            raise
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return _fail(text, FAILED, "this is a bug in excite; --debug prints the traceback")


def _fail(message: str, code: int, hint: str | None = None, kind: str = "error: ") -> int:
    """Print the one line; what the user stopped is not an error."""
    print_error(f"{kind}{message}", hint)
    return code
