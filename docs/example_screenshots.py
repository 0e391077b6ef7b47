"""Takes the pictures of the React example: `.venv/bin/python docs/example_screenshots.py`.

Runs a demo of its own. Needs Chromium (`apt-get install chromium`) and Node (`make js`).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, it is not in the repository's folder

from tools.example import example, missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DOCS = Path(__file__).parent
PORT = 18_766
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "example.png": ("ada", {"viewport": {"width": 900, "height": 640}}),
    "example-dark.png": ("ben", {"viewport": {"width": 900, "height": 640}, "color_scheme": "dark"}),
    "example-phone.png": (
        "chika",
        {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True},
    ),
}
DEALS = [
    {"item_name": "Orange juice 64 oz", "store_name": "Corner Market", "store_id": 1, "currency": "USD"}
    | {"best_price_in_cents": 279, "old_price_in_cents": 349},
    {"item_name": "Ground coffee 12 oz", "store_name": "Fresh Fields", "store_id": 2, "currency": "USD"}
    | {"best_price_in_cents": 699, "old_price_in_cents": 899},
    {"item_name": "Oat granola", "store_name": "Harbor Foods", "store_id": 3, "currency": "USD"}
    | {"best_price_in_cents": 419, "old_price_in_cents": 529},
]


def take(browser: Browser, name: str, address: str, folder: Path) -> None:
    """One picture: a user's page just after three deals were found."""
    user, look = PICTURES[name]
    key = msgspec.json.decode((folder / "demo.json").read_bytes())["publish_key"]
    with browser.new_context(locale="en-US", reduced_motion="reduce", **look) as context:
        page = context.new_page()
        page.goto(f"{address}/?user={user}")
        expect(page.locator(".live")).to_have_text("Live")
        body = {"user_id": user, "type": "deal-notification", "data": {"deals": DEALS}}
        httpx2.post(
            f"http://127.0.0.1:{PORT}/v1/notifications",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        ).raise_for_status()
        expect(page.locator(".toast", has_text="3 new deals found!")).to_be_visible()
        page.locator("li").nth(1).get_by_role("button").click()
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.screenshot(path=DOCS / name)
        print(DOCS / name)


def main() -> None:
    """Write every picture, and stop the demo whatever happens."""
    chromium = shutil.which("chromium") or sys.exit("no chromium here: apt-get install chromium")
    if lacking := missing():
        sys.exit(lacking)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "notifyd", "demo", "--folder", folder, "--port", str(PORT)]
        demo = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert demo.stdout is not None
            any(b"stop" in line for line in demo.stdout)  # the last line of its greeting
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            with example(f"http://127.0.0.1:{PORT}") as address:
                for name in PICTURES:
                    take(browser, name, address, Path(folder))
            browser.close()
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.wait()


if __name__ == "__main__":
    main()
