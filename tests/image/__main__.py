"""`python -m image build FOLDER` follows the Dockerfile in an empty folder; `python -m image sbom FILE` writes the
bill of materials of the image. Neither needs a container engine; both need what isolation.py needs, and a network
for pip."""

import sys
import tempfile
from pathlib import Path

from image import isolation
from image.building import build
from image.dockerfile import NoImage
from image.sbom import ROOT, write_sbom


def main(arguments: list[str]) -> int:
    if reason := isolation.why_not():
        print(reason)
        return 1
    try:
        match arguments:
            case ["build", folder]:
                image = build(ROOT, Path(folder).resolve())
                print(f"{image.root}: {' '.join((*image.entrypoint, *image.arguments))} as {image.user}")
            case ["sbom", file]:
                with tempfile.TemporaryDirectory() as folder:
                    write_sbom(build(ROOT, Path(folder)), Path(file))
                print(file)
            case _:
                print(__doc__)
                return 2
    except NoImage as problem:
        print(problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
