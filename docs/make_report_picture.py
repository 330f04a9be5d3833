"""Make ``docs/images/report.png``, the picture of a report in the README.

    python docs/make_report_picture.py out/CASE/report.html

Needs Debian's chromium and playwright (``pip install osler[dev]``).
"""

import shutil
import sys
from pathlib import Path

TARGET = Path(__file__).parent / "images" / "report.png"


def make(report: Path, *, width: int = 1280, height: int = 860) -> Path:
    """Photograph the top of a report as a reader sees it, at a width in CSS pixels."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed; run: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": width, "height": height},
            device_scale_factor=1.5,
            color_scheme="light",
        )
        page.goto(report.resolve().as_uri())
        page.wait_for_timeout(300)
        TARGET.parent.mkdir(exist_ok=True)
        page.screenshot(path=TARGET)
        browser.close()
    return TARGET


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(make(Path(sys.argv[1])))
