"""`python -m focus.cli` runs the `focus` command."""

from focus.cli import main

if __name__ == "__main__":
    main()
