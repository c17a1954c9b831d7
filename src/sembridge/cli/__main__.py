"""`python -m sembridge.cli`."""

from sembridge.cli import main

if __name__ == "__main__":
    main()
