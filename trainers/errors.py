"""What goes wrong because of what the user asked for or has, told in one line; and runs cut short."""

import errno

# Exit statuses of trainers.run.
FAILED = 1
RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: what there was is saved, the same command goes on
LEFT = 130  # as shells say of SIGINT

NO_ROOM = "No space left on device"


class UserError(Exception):
    """What is wrong, where, and what to do."""


class Interrupted(KeyboardInterrupt):
    """A run ended before it was finished, and what it had is saved: the same command goes on."""


class WorkerLost(Interrupted):
    """Another process of the cluster is gone; what the last checkpoint has is saved."""


def is_disk_full(error):
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or NO_ROOM in str(error)
