"""`python -m focus.cli` is the same as `focus`."""

from focus.cli import main

if __name__ == "__main__":
    main()
