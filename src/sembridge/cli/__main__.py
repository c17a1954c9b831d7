"""`python -m sembridge.cli`."""

from sembridge.cli.program import main

if __name__ == "__main__":
    main()
