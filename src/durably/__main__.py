"""`python -m durably`: the command line."""

from durably.api.cli import main

main()
