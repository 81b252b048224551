"""`python -m clipft.cli`."""

from . import main

main()
