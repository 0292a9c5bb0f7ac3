"""Other programs that log people in by face, beside ours on one machine, before one camera."""
