"""The small specification, for every test of the command line that asks for `place`."""

from tests.running.small import no_torch, place

__all__ = ["no_torch", "place"]
