"""`sembridge doctor`: what this installation runs on, for a look before long work and for bug reports."""

import os
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from sembridge.cli.options import Json, verb
from sembridge.cli.printing import print_json

PACKAGES = ("sembridge", "torch", "transformers", "sentence-transformers", "tokenizers", "numpy")
EXTRA = re.compile(r"""([\w.-]+).*\bextra == ['"]([\w-]+)['"]""")


@verb("""Examples:

`sembridge doctor`

`sembridge doctor --json`""")
def doctor(*, as_json: Json = False) -> None:
    """Shows versions, threads, bfloat16, memory, cache folders and extras."""
    found = _findings()
    if as_json:
        print_json(found)
        return
    versions = found["versions"]
    threads, memory, extras = found["threads"], found["memory_gb"], found["extras"]
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    print(f"threads: {threads['used']} of {threads['cores']} cores; this process may use {threads['usable']}")
    print(f"bfloat16: {'computed by this processor' if found['bfloat16'] else 'not computed by this processor'}")
    print(f"memory: {'unknown' if memory is None else f'{memory:.1f} GB'}")
    print("GPU: " + (", ".join(found["gpus"]) or "none that torch can use"))
    for name, folder in found["caches"].items():
        print(f"cache: {folder} ({name})")
    missing = [name for name, is_there in extras.items() if not is_there]
    print("extras: " + (", ".join(name for name in extras if name not in missing) or "none"))
    if missing:
        print(f"extras that are not installed: {', '.join(missing)}")


def _findings() -> dict[str, Any]:
    import platform

    import torch
    from huggingface_hub.constants import HF_HUB_CACHE

    from sembridge.files.threads import usable_threads
    from sembridge.files.vector_cache import assets_folder

    return {
        "versions": {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "threads": {"used": torch.get_num_threads(), "cores": os.cpu_count(), "usable": usable_threads()},
        "bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "memory_gb": _memory_gb(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "caches": {"models": str(HF_HUB_CACHE), "vectors of bridges": str(assets_folder("bridge"))},
        "extras": _extras(),
    }


def _memory_gb() -> float | None:
    """Of the machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return None


def _extras() -> dict[str, bool]:
    """Whether all packages of an extra are installed, by extra."""
    found: dict[str, bool] = {}
    for requirement in requires("sembridge") or ():
        if (parts := EXTRA.match(requirement)) and parts[2] != "all":
            found[parts[2]] = found.get(parts[2], True) and _is_installed(parts[1])
    return found


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
