"""The main job shown on two public-domain portraits, on a root tree of its own."""
