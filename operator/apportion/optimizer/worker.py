"""The process that solves: length-prefixed pickles in on standard input, out on standard output.

Started by process.py as `python -m apportion.optimizer.worker FOLDER`; FOLDER holds CBC's files and goes with it.
"""

import contextlib
import os
import pickle
import shutil
import struct
import sys
from typing import BinaryIO

from apportion.optimizer.program import Answer
from apportion.optimizer.solvers import run

HEADER = struct.Struct("!Q")


def serve(source: BinaryIO, sink: BinaryIO, folder: str) -> None:
    """Answers until the other side closes; a failure is an answer too."""
    while len(head := source.read(HEADER.size)) == HEADER.size:
        program, limits = pickle.loads(source.read(*HEADER.unpack(head)))
        try:
            answer = run(program, limits, folder)
        except Exception as problem:
            answer = Answer(message=f"{limits.method}: {type(problem).__name__}: {problem}")
        data = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
        sink.write(HEADER.pack(len(data)) + data)
        sink.flush()


def main() -> None:
    folder = sys.argv[1]
    # Where nobody is left to hear an answer, nobody is left to hear of that either.
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as sink:
        # What a solver prints must not get between the answers.
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.close(quiet)
        try:
            serve(sys.stdin.buffer, sink, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
