"""The paper's tables, runs that reproduce them, and a page that shows both."""

from bimm_mm.leaderboard.blocks import to_html, to_markdown
from bimm_mm.leaderboard.config_page import config_page
from bimm_mm.leaderboard.counting import count_models
from bimm_mm.leaderboard.page import TITLE, page
from bimm_mm.leaderboard.placing import Board, Other, place
from bimm_mm.leaderboard.reader import OURS, PAPER, read_tables
from bimm_mm.leaderboard.record import RunRecorder, record_result
from bimm_mm.leaderboard.results import Refused, Result, gather
from bimm_mm.leaderboard.running import run_steps, select
from bimm_mm.leaderboard.steps import Step, row_steps, unique
from bimm_mm.leaderboard.tables import Row, Table, TableFile

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
