"""The command line: the same verbs as the magics, with the same result."""
