"""A process that has imported torch and all of Encore, behind a socket: in a shell script `encore`
and `python FILE` then cost a fork instead of three seconds.

python tests/doorman.py SOCKET               serves until it is killed python tests/doorman.py
SOCKET encore …      hands over arguments, working directory and standard streams, and leaves with
the command's exit code python tests/doorman.py SOCKET python FILE
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys


def ask(address: str, arguments: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(address)
        socket.send_fds(
            door, [json.dumps({"arguments": arguments, "cwd": os.getcwd()}).encode()], [0, 1, 2]
        )
        return door.recv(1)[0]


def serve(address: str) -> None:
    importlib.import_module(
        "encore"
    )  # before torch, whose libraries read the environment that it sets
    import torch

    torch.set_num_threads(1)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        while True:
            visitor, _ = door.accept()
            message, streams, *_ = socket.recv_fds(visitor, 2**16, 3)
            child = os.fork()
            if child == 0:
                _run(json.loads(message), streams)
            for stream in streams:
                os.close(stream)
            visitor.sendall(bytes([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF]))
            visitor.close()


def _run(asked: dict[str, list[str]], streams: list[int]) -> None:
    """Never returns."""
    import runpy
    import traceback

    import encore.cli.app

    code: object = 1
    try:
        os.chdir(str(asked["cwd"]))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        # The old ones may believe that they can seek.
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, encoding="utf-8", closefd=False)
            for number, mode in enumerate("rww")
        )
        program, *sys.argv = asked["arguments"]
        if program == "python":
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        else:
            sys.argv = [program, *sys.argv]
            encore.cli.app.main(sys.argv[1:])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
