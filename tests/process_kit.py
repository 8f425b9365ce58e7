"""What tests ask about processes."""

import psutil


def is_gone(pid: int) -> bool:
    """Whether it has ended: a process that nobody has waited for counts as gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # asked in one go: between two questions it may end
        return True
