"""``python -m buildfarm``: the same as the command ``buildfarm``."""

from buildfarm.cli import main

if __name__ == "__main__":
    main()
