"""A process that has imported torch and all of Encore, behind a socket.

In a shell script, `encore` and `python` then cost a fork instead of three seconds:

    python tests/doorman.py SOCKET               serves until it is killed
    python tests/doorman.py SOCKET encore …      runs a command and exits with its exit code
    python tests/doorman.py SOCKET python FILE   runs a script, or a module with -m

The second and third form hand over arguments, working directory and standard streams.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys


def ask(address: str, arguments: list[str]) -> int:
    """Run a command behind the socket and return its exit code; 1 if its process was killed."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(address)
        message = json.dumps({"arguments": arguments, "cwd": os.getcwd()}).encode()
        socket.send_fds(door, [message], [0, 1, 2])
        code = door.recv(1)
        return code[0] if code else 1


def serve(address: str) -> None:
    importlib.import_module("encore")  # before torch, whose libraries read variables that it sets
    import torch
    import transformers
    import warm  # noqa: F401  imports what a first run imports on its way

    # Resolves transformers' lazy names, which an export's check and a pipeline need.
    for name in ("AutoTokenizer", "AutoModelForSequenceClassification", "pipeline"):
        getattr(transformers, name)
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        while True:
            visitor, _ = door.accept()
            message, streams, *_ = socket.recv_fds(visitor, 2**16, 3)
            if os.fork() == 0:
                _run(json.loads(message), streams, visitor)
            for stream in streams:
                os.close(stream)
            visitor.close()


def _reap(*_: object) -> None:
    """Remove children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run(asked: dict[str, list[str]], streams: list[int], visitor: socket.socket) -> None:
    """Run a command and send its exit code to the visitor. Never returns."""
    import runpy
    import traceback

    import encore.cli.app

    code: object = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.chdir(str(asked["cwd"]))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        # The old ones may believe that they can seek.
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, encoding="utf-8", closefd=False)
            for number, mode in enumerate("rww")
        )
        # Processes that the command starts with sys.executable come through the door, too.
        sys.executable = os.environ.get("DOOR_PYTHON", sys.executable)
        program, *sys.argv = asked["arguments"]
        if program == "python" and sys.argv[0] == "-m":
            sys.argv = sys.argv[1:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
            code = 0
        elif program == "python":
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        else:
            sys.argv = [program, *sys.argv]
            encore.cli.app.main(sys.argv[1:])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        visitor.sendall(bytes([code & 0xFF if isinstance(code, int) else 1]))
        os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
