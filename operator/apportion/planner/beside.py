"""The process that decides for shadows: length-prefixed pickles in on standard input, out on standard output.

It runs beside the operator so that shadows share neither its interpreter lock nor its solver with the decisions that
count, at a lower priority. It ends when its input does.
"""

import os
import pickle
import signal
import struct
import sys
from typing import BinaryIO

from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner.shadow import shadowed

HEADER = struct.Struct("!Q")
NICENESS = 5


def framed(value: object) -> bytes:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(data)) + data


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    while len(head := source.read(HEADER.size)) == HEADER.size:
        asked: tuple[Snapshot, Policy] = pickle.loads(source.read(*HEADER.unpack(head)))
        sink.write(framed(shadowed(*asked)))
        sink.flush()


def main() -> None:
    # Ctrl-C on a terminal reaches the operator too, which then closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
