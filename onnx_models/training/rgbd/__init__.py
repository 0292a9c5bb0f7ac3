"""RGB-D faces that are rendered, and the siamese network that is trained on them. See README.md."""
