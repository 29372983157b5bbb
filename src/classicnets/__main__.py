"""`python -m classicnets` is the `classicnets` command."""

from classicnets.cli.main import main

main()
