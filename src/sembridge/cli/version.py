"""The version, printed: all that `sembridge --version` has to import."""


def print_version() -> None:
    from importlib.metadata import version

    print(f"sembridge {version('sembridge')}")
