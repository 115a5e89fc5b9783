"""A command of the program on a terminal of its own."""

import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from fcntl import ioctl


class Terminal:
    """What the command wrote is `text`."""

    def __init__(self, *words: str) -> None:
        main, child = pty.openpty()
        ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("COLUMNS", None)
        # Who runs the tests in the background of a shell ignores interrupts, and so would all that they start.
        interruptible = ("env", "--default-signal=INT")
        self.process = subprocess.Popen(
            [*interruptible, sys.executable, "-m", "apportion.cli", *words], stdin=child, stdout=child, stderr=child,
            env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(child)
        self.text = ""
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, args=(main,))
        self.reader.start()

    def _read(self, main: int) -> None:
        while True:
            try:
                data = os.read(main, 65536)
            except OSError:
                data = b""
            with self.changed:
                self.text += data.decode(errors="replace")
                self.changed.notify_all()
            if not data:
                os.close(main)
                return

    def shows(self, pattern: str, start: int = 0) -> int:
        """Wait until it was written after `start`; where it ends."""
        with self.changed:
            assert self.changed.wait_for(lambda: re.search(pattern, self.text[start:]), 40), self.text[start:]
            found = re.search(pattern, self.text[start:])
            assert found is not None
            return start + found.end()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.reader.join(20)
