"""`python -m encore` is the command `encore`."""

from encore.cli import main

if __name__ == "__main__":
    main()
