"""`python -m harmoniad` is the command `harmoniad`."""

from harmoniad.cli import main

main()
