"""`python -m controlplane build` builds all programs; `python -m controlplane up FOLDER` runs a plane until Ctrl-C."""

import signal
import sys
import time
from pathlib import Path

from controlplane.plane import Plane
from controlplane.processes import Failed
from controlplane.programs import PROGRAMS, CannotBuild, build


def say(line: str) -> None:
    print(line, flush=True)


def build_all() -> None:
    for program in PROGRAMS:
        say(f"{program.name} {program.version}: {build(program, say)}")


def run(folder: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    began = time.monotonic()
    with Plane(folder, say=say) as plane:
        say(f"ready in {time.monotonic() - began:.1f} s; logs in {folder}\nexport KUBECONFIG={plane.kubeconfig}")
        signal.pause()


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["build"]:
                build_all()
            case ["up", folder]:
                run(Path(folder))
            case _:
                say(__doc__ or "")
                return 2
    except (CannotBuild, Failed) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
