"""Takes the pictures of the page for the documentation: `.venv/bin/python docs/screenshots.py`.

Runs a demo of its own in a temporary folder and needs Chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DOCS = Path(__file__).parent
PORT = 18_765
DESKTOP = {"viewport": {"width": 1200, "height": 800}}
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "page.png": ("Ada", DESKTOP),
    "page-dark.png": ("Ben", DESKTOP | {"color_scheme": "dark"}),
    "page-phone.png": (
        "Chika",
        {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True},
    ),
}


def take(browser: Browser, name: str, who: str, look: dict[str, Any]) -> None:
    """One picture: a user's page with some of its notifications read."""
    with browser.new_context(locale="en-US", reduced_motion="reduce", **look) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{PORT}/")
        page.get_by_role("button", name=who).click()
        expect(page.locator("#status-title")).to_have_text("Live")
        for index in (2, 1):
            page.locator(".card").nth(index).get_by_role("button").click()
        expect(page.locator(".card[data-state=read]")).to_have_count(2)
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.screenshot(path=DOCS / name)
        print(DOCS / name)


def take_mail(browser: Browser, folder: Path) -> None:
    """The example mail, as a browser shows its HTML in light and in dark."""
    file = folder / "mail.html"
    subprocess.run([sys.executable, "-m", "notifyd", "preview-email", file], check=True, cwd=folder)
    for name, scheme in (("mail.png", "light"), ("mail-dark.png", "dark")):
        look: dict[str, Any] = {"viewport": {"width": 620, "height": 640}, "color_scheme": scheme}
        with browser.new_context(device_scale_factor=1.5, **look) as context:
            page = context.new_page()
            page.goto(file.as_uri())
            page.screenshot(path=DOCS / name, full_page=True)
            print(DOCS / name)


def main() -> None:
    """Write every picture, and stop the demo whatever happens."""
    chromium = shutil.which("chromium") or sys.exit("no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "notifyd", "demo", "--folder", folder, "--port", str(PORT)]
        demo = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert demo.stdout is not None
            any(b"stop" in line for line in demo.stdout)  # the last line of its greeting
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for name, (who, look) in PICTURES.items():
                take(browser, name, who, look)
            take_mail(browser, Path(folder))
            browser.close()
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.wait()


if __name__ == "__main__":
    main()
