"""Sealed reference templates and the key that opens them."""
