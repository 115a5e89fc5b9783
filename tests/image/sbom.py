"""The bill of materials of an image's Python environment, in CycloneDX, as cyclonedx-py writes it.

What is outside of that environment is the base image's: Debian's packages, and Python itself.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from image.building import Image
from image.dockerfile import NoImage

ROOT = Path(__file__).parents[2]
ENVIRONMENT = "opt/apportion"


def write_sbom(image: Image, file: Path, validate: bool = True) -> None:
    """Raises NoImage with what cyclonedx-py said. It needs 1 s of CPU to write and 17 s to validate."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # cyclonedx-py asks a python where its packages are. That of the image runs inside of it only.
        view = Path(folder)
        (view / "bin").mkdir()
        (view / "bin" / "python").symlink_to(sys.executable)
        (view / "lib").symlink_to(image.root / ENVIRONMENT / "lib")
        (view / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\ninclude-system-site-packages = false\n")
        tool = [sys.executable, "-m", "cyclonedx_py", "environment", str(view / "bin" / "python")]
        about = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application", "--output-reproducible"]
        about.append("--validate" if validate else "--no-validate")
        done = subprocess.run([*tool, *about, "--output-file", str(file)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoImage(f"cyclonedx-py failed:\n{done.stderr}")
