"""What crosses a process boundary: the frames, how they are joined into messages, and the limits of both ends."""
