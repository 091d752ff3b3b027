"""The paper's tables, runs that reproduce them, and a page that shows both."""

from .blocks import to_html, to_markdown
from .config_page import config_page
from .counting import count_models
from .page import TITLE, page
from .placing import Board, Other, place
from .reader import OURS, PAPER, read_tables
from .record import RunRecorder, record_result
from .results import Refused, Result, gather
from .running import run_steps, select
from .steps import Step, row_steps, unique
from .tables import Row, Table, TableFile

__all__ = [
    'OURS',
    'PAPER',
    'TITLE',
    'Board',
    'Other',
    'Refused',
    'Result',
    'Row',
    'RunRecorder',
    'Step',
    'Table',
    'TableFile',
    'config_page',
    'count_models',
    'gather',
    'page',
    'place',
    'read_tables',
    'record_result',
    'row_steps',
    'run_steps',
    'select',
    'to_html',
    'to_markdown',
    'unique',
]
