"""A worker: ``python -m cerebelum_nb.worker LINE,CONTROL,GATE[,KERNEL] [NBYTES FOLDER ...]``. Started by Core only.

The first are file descriptors, the last of them one that can be read when the kernel has ended; in the folders are
values of more than so many bytes, see wire/segments.py.
"""

import os
import socket
import sys
from pathlib import Path


def main() -> None:
    """Serve Core until it is gone."""
    from cerebelum_nb.wire.gate import Gate  # noqa: PLC0415  multiprocessing's children import this module too
    from cerebelum_nb.worker.loop import Worker  # noqa: PLC0415  as above
    from cerebelum_nb.worker.shared import Shared  # noqa: PLC0415  as above

    fds, (large, *folders) = [int(fd) for fd in sys.argv[1].split(",")], sys.argv[2:] or ["0"]
    for fd in fds:
        os.set_inheritable(fd, False)
    shared = Shared([Path(folder) for folder in folders], int(large))
    Worker(socket.socket(fileno=fds[0]), socket.socket(fileno=fds[1]), Gate(fds[2]), shared, *fds[3:]).run()


if __name__ == "__main__":
    main()
