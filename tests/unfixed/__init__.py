"""Takes each fix out of a copy and sees its tests fail: `python -m tests.unfixed`."""
