"""What to do about errors of the system, which name a file alone."""

from __future__ import annotations

import errno

_FULL = 'free space there, or write elsewhere'
_FORBIDDEN = 'get access to it (ls -ld tells who has), or give another'
_IN_THE_WAY = 'a file lies where a folder is to be: give another'
_REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL)
_REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM), _FORBIDDEN)
_REMEDIES |= dict.fromkeys((errno.EEXIST, errno.ENOTDIR), _IN_THE_WAY)


def remedy(error: Exception) -> str:
    """What follows the text of an error; '' if that says what to do."""
    number = getattr(error, 'errno', None)
    if number == errno.ENOENT and getattr(error, 'filename', '') is None:
        return ': the folder that you are in was removed: go to another one'
    return f': {_REMEDIES[number]}' if number in _REMEDIES else ''
