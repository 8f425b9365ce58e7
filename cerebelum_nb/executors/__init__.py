"""Places where attempts run, here and on workers, and the lanes by which runs reach them."""
