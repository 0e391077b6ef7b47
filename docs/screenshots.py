"""Takes the pictures of both pages for the documentation: `.venv/bin/python docs/screenshots.py`.

Runs a demo of its own in a temporary folder and needs Chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

DOCS = Path(__file__).parent
PORT = 18_765
DESKTOP = {"viewport": {"width": 1200, "height": 800}}
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True}
#: name → who is signed in, and the look.
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "page.png": ("Ada", DESKTOP),
    "page-dark.png": ("Ben", DESKTOP | {"color_scheme": "dark"}),
    "page-phone.png": ("Chika", PHONE),
}
#: name → whose connections and inbox are looked at, and the look.
OPERATOR: dict[str, tuple[str, dict[str, Any]]] = {
    "operator.png": ("ada", DESKTOP),
    "operator-dark.png": ("ben", DESKTOP | {"color_scheme": "dark"}),
    "operator-phone.png": ("chika", PHONE),
}
#: Seconds for which the operator's charts run before their picture is taken.
RUN_S = 60


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


def take_operators(browser: Browser, key: str) -> None:
    """The operator's view in every look; the users of the demo are online, over both transports."""
    with browser.new_context(locale="en-US") as people, ExitStack() as open_looks:
        for who, transport in (("Ada", "WebSocket"), ("Ben", "SSE"), ("Chika", "WebSocket")):
            page = people.new_page()
            page.goto(f"http://127.0.0.1:{PORT}/")
            page.get_by_role("button", name=who).click()
            page.get_by_role("radio", name=transport, exact=True).check()
        desks = []
        for name, (user, look) in OPERATOR.items():
            context = browser.new_context(locale="en-US", reduced_motion="reduce", **look)
            desks.append((name, open_desk(open_looks.enter_context(context), key, user)))
        desks[0][1].wait_for_timeout(RUN_S * 1000)
        for name, page in desks:
            page.get_by_role("button", name="Look again").click()
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            page.wait_for_timeout(500)
            page.screenshot(path=DOCS / name)
            print(DOCS / name)


def open_desk(context: BrowserContext, key: str, user: str) -> Page:
    """The operator's view with a user chosen and one notification traced."""
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{PORT}/operator")
    page.get_by_label("Admin key").fill(key)
    page.get_by_role("button", name="Open").click()
    page.get_by_label("How the user").fill(user)
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="Ledger of").first.click()
    expect(page.locator("#trace")).to_be_visible()
    return page


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
            state = msgspec.json.decode((Path(folder) / "demo.json").read_bytes())
            take_operators(browser, state["admin_key"])
            browser.close()
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.wait()


if __name__ == "__main__":
    main()
