"""Face authentication for PAM: look at the camera, or type the password."""

__version__ = "0.1.0"
