"""Every command says what to do about errors of the system."""

from __future__ import annotations

import errno

import pytest
from mmengine.config import Config

from bimm_mm.apis.one_line import explain
from bimm_mm.utils.processes import mistakes_told

MISTAKES = {
    errno.EACCES: 'get access to it',
    errno.EEXIST: 'a file lies where a folder is to be: give another',
    errno.ENOSPC: 'free space there, or write elsewhere',
}


@pytest.mark.parametrize('number', MISTAKES)
def test_files_have_their_remedy(number):
    error = OSError(number, 'said', 'data/a.mp4')
    with pytest.raises(SystemExit) as end, mistakes_told():
        raise error
    for text in (str(end.value), explain(error, Config())):
        assert "'data/a.mp4': " in text and MISTAKES[number] in text
