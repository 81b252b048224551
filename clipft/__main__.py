"""`python -m clipft` is the command."""

from .cli import main

main()
