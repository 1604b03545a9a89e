"""The command line: ``codesign COMMAND``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from codesign import __version__
from codesign.arguments import parser_of_commands
from codesign.errors import CodesignError
from codesign.hidden import hidden
from codesign.parsers import Parser
from codesign.signals import Stopped, exit_code, stoppable

FAULT = 70  # exit code of an exception that nobody foresaw (EX_SOFTWARE of sysexits.h)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 success; 1 done, but the result needs attention (a worse study, a failed check); 2 wrong
        input; 3 a problem of the environment; 70 an internal error; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP.
    """
    # torch's threads wait asleep: spinning, as they do otherwise, takes five times the work on a busy machine
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = parser_of_commands()
    Parser.json = "--json" in (sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(argv)
    try:
        with stoppable():
            # each command's module imports only what it needs: --help does not load torch
            command = importlib.import_module(f"codesign.commands.{arguments.command}")
            code: int = command.run(arguments)
            return code
    except CodesignError as error:
        if arguments.traceback:
            traceback.print_exception(error.__cause__ or error)
        return _end(arguments.json, f"error: {error}", error.exit_code)
    except KeyboardInterrupt as stop:
        name = str(stop) if isinstance(stop, Stopped) else "interrupted"
        return _end(arguments.json, f"{name}{_KEPT.get(arguments.command, '')}", exit_code(stop))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:
            return _fault(error, arguments)
        return _end(arguments.json, f"error: {error.filename or 'system'}: {error.strerror}", 3)
    except Exception as error:
        return _fault(error, arguments)


_KEPT = {
    "search": "; what was measured is kept, the same command goes on",
    "worker": "; what was measured is kept, the evaluation in progress went back to the queue",
    "tune": "; networks that were tuned are kept",
    "confirm": "; units that were synthesised are kept, the same command goes on",
    "calibrate": "; units that were synthesised are kept, the same command goes on",
}


def _end(as_json: bool, text: str, code: int) -> int:
    """Say in one line on stderr how a command ended, and with --json as JSON on stdout."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"codesign: {text}", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": text.removeprefix("error: "), "exit_code": code}))
    return code


def _fault(error: Exception, arguments: argparse.Namespace) -> int:
    """Say in one line what nobody foresaw, and keep the traceback for whoever mends it."""
    text = hidden(f"codesign {__version__} {arguments.command}\n{''.join(traceback.format_exception(error))}")
    lines = hidden(str(error)).strip().splitlines() or [""]
    said = f"internal error: {type(error).__name__}: {lines[0]}"
    if arguments.traceback:
        print(text, end="", file=sys.stderr)
        return _end(arguments.json, said, FAULT)
    with tempfile.NamedTemporaryFile("w", prefix="codesign-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(text)
    return _end(arguments.json, f"{said}; this is a fault of codesign: please report it with {log.name}", FAULT)
