"""What is done after training: pure functions on weight mappings, one file each."""

from .wise import wise as wise
