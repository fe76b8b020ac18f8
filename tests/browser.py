"""A real browser, where there is one; its profile lies in a test's folder."""

import shutil
import subprocess

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")


def command(folder, *flags):
    """The browser's command, without a window."""
    return [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder / 'profile'}", *flags),
    ]


def dumped(file, folder, *flags):
    """A page as the browser has it once its scripts have run: on standard output."""
    return subprocess.run(
        command(folder, *flags, "--dump-dom", file.as_uri()),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
