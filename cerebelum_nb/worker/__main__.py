"""A worker: ``python -m cerebelum_nb.worker LINE CONTROL``. Started by Core only; both are file descriptors."""

import socket
import sys


def main() -> None:
    """Serve Core until it is gone."""
    from cerebelum_nb.worker.loop import Worker  # noqa: PLC0415  multiprocessing's children import this module too

    line, control = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:])
    line.set_inheritable(False)
    control.set_inheritable(False)
    Worker(line, control).run()


if __name__ == "__main__":
    main()
