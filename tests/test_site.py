"""The documents are built as a site, without network, and read in Chromium."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.test_docs import REGISTRIES

ROOT = Path(__file__).resolve().parent.parent


def _no_network(*args: object) -> None:
    raise AssertionError('building the site asks the network')


@pytest.fixture(scope='session')
def site(tmp_path_factory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp('site')
    with (
        pytest.MonkeyPatch.context() as patch,
        (ROOT / 'mkdocs.yml').open('rb') as file,
    ):
        patch.setattr(socket.socket, 'connect', _no_network)
        config = load_config(file, strict=True, site_dir=str(folder))
        config.plugins.on_startup(command='build', dirty=False)
        build(config)  # Aborts at the first warning's end.
    return folder


def _text(page: Path) -> str:
    return re.sub(r'<[^>]+>', '', page.read_text(encoding='utf-8'))


def test_the_api_has_every_class_that_a_config_can_name(site):
    shown = ''.join(_text(page) for page in (site / 'api').glob('*.html'))
    for kinds in REGISTRIES:
        kinds.import_from_location()
        for kind in kinds.module_dict.values():
            if kind.__module__.startswith('bimm_mm'):
                assert kind.__name__ in shown, kind
    # Sections of docstrings that are not read as such, and Sphinx's roles.
    assert not re.search(r'\bArgs:|:\w+:(?=`|\w)', shown)


def test_the_methods_are_those_of_the_configs(site):
    text = _text(site / 'methods' / 'index.html').split()
    row = 'dorsal MT 12 MotionTarget TransformerDecoder TubeMasking(ratio=0.9)'
    assert row in ' '.join(text)
    ablations = _text(site / 'methods' / 'ablations.html')
    for path in (ROOT / 'configs' / 'ablations').glob('*.py'):
        assert f'ablations/{path.name}' in ablations


def test_the_snippets_of_the_readme_are_there(site):
    text = _text(site / 'use.html')
    for name in ('Recognizer3D', 'SimpleFPN', 'bimm_mm.load_encoder'):
        assert name in text


@pytest.fixture
def address(site) -> Iterator[str]:
    handler = partial(QuietHandler, directory=str(site))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_pages_fit_the_screen_and_ask_nobody(site, browser, address):
    """All on a phone, every fourth on a desk: there the column is fixed."""
    asked, errors = [], []
    for width, every in ((390, 1), (1280, 4)):
        page = browser.new_page(viewport={'width': width, 'height': 900})
        page.on('request', lambda request: asked.append(request.url))
        page.on('pageerror', lambda error: errors.append(str(error)))
        for path in sorted(site.rglob('*.html'))[::every]:
            page.goto(address + path.relative_to(site).as_posix())
            wide = page.evaluate('document.documentElement.scrollWidth')
            assert wide <= width, path.name
    assert not [url for url in asked if not url.startswith(address)]
    assert not errors
