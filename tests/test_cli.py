"""What every verb of the ``bimm`` command has in common."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer

from bimm_mm import cli
from bimm_mm.apis import flags
from tests.processes import run_code

HELP = """
import sys
import bimm_mm.doctor
from bimm_mm.cli import main
bimm_mm.doctor.main = lambda: None  # it imports what it looks for
for word in ('doctor', '--help'):
    try:
        main([word])
    except SystemExit as error:
        assert not error.code, error.code
print('imported', *sorted({'torch', 'mmengine', 'numpy'} & set(sys.modules)))
"""


def _verbs(group, name=()):
    """Every command of a group by its words."""
    for key, command in typer.main.get_command(group).commands.items():
        if hasattr(command, 'commands'):
            for inner, each in command.commands.items():
                yield (*name, key, inner), each
        else:
            yield (*name, key), command


VERBS = dict(_verbs(cli.app))


def test_help_and_doctor_come_without_importing_a_library():
    assert run_code(HELP).splitlines()[-1] == 'imported'


@pytest.mark.parametrize('words', VERBS, ids=' '.join)
def test_every_verb_explains_itself(words, bimm, capsys):
    bimm(*words, '--help')
    said = capsys.readouterr().out
    assert f'bimm {" ".join(words)}' in said or ' '.join(words) in said


def test_a_flag_means_the_same_everywhere():
    shared = {
        '--device': flags.Device,
        '--set': flags.Settings,
        '--quiet': flags.Quiet,
        '--dry-run': flags.DryRun,
    }
    helps = {flag: kind.__metadata__[0].help for flag, kind in shared.items()}
    for words, command in VERBS.items():
        for option in command.params:
            for flag in option.opts:
                if flag in helps:
                    assert option.help == helps[flag], (words, flag)


def test_a_mistake_is_one_sentence_and_debug_shows_the_traceback(
    monkeypatch, mistake
):
    def broken() -> None:
        raise ValueError('the file clip.mp4\nhas no frames: record it anew')

    monkeypatch.setattr('bimm_mm.doctor.main', broken)
    assert mistake('doctor') == (
        'bimm: error: the file clip.mp4 has no frames: record it anew\n'
    )
    with pytest.raises(ValueError, match='record it anew'):
        cli.main(['doctor', '--debug'])


def test_a_folder_that_was_removed_is_no_place_to_be(
    mistake, monkeypatch, tmp_path
):
    (folder := tmp_path / 'gone').mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert 'the folder that you are in was removed' in mistake('doctor')


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def broken() -> None:
        raise TypeError('not of the user')

    monkeypatch.setattr('bimm_mm.doctor.main', broken)
    with pytest.raises(TypeError, match='not of the user'):
        cli.main(['doctor'])


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['pretrian'], "No such command 'pretrian'. Did you mean 'pretrain'?"),
        (['doctor', '--lader'], '--lader'),
        (['show', '--out=a'], "Missing argument 'RUN'"),
        (['demo', '--out=a', '--epochs=two'], "value for '--epochs'"),
        (['data'], ''),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(said)
    assert all(x.startswith('bimm: error: ') and said in x for x in lines)


def test_the_next_command_can_be_pasted(capsys):
    group = typer.Typer()

    @cli.verb(group, then='bimm finetune {out} --out {out}_tuned')
    def walk(out: Path, dry_run: bool = False) -> None:
        """Walk."""

    command = typer.main.get_command(group)
    for name in ("my father's run", '\udcff'):  # which is not UTF-8
        command.main([name], standalone_mode=False)
        (said,) = capsys.readouterr().out.splitlines()
        shown = shlex.quote(name).replace('\udcff', '\\udcff')
        assert said == f'next: bimm finetune {shown} --out {shown}_tuned'


def test_a_loader_is_measured_of_a_training(tmp_path, mistake):
    path = tmp_path / 'test.py'
    path.write_text("work_dir = 'a'")
    assert '--set would have no effect: it is of --loader' in mistake(
        'doctor', '--set', 'seed=1'
    )
    said = mistake('doctor', '--loader', path)
    assert 'test.py has no train_dataloader: g' in said
