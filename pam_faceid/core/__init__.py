"""Pure computation: numpy, msgspec and the standard library. No I/O; clocks are passed in."""
