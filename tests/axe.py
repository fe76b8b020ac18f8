"""Barriers in a page, by axe-core in a real browser: light or dark, at any width.

The page is served to the browser, with everything open, or a part of it, and axe sends back what it
finds.
"""

import json
import os
import re
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

from browser import command

RUN = """
addEventListener("load", async () => {
  document.querySelectorAll(OPENED).forEach(part => { part.open = true; });
  await new Promise(done => setTimeout(done, 500));
  const found = await axe.run(document, { resultTypes: ["violations"] });
  const seen = found.violations.map(each => ({
    rule: each.id, nodes: each.nodes.map(node => node.html.slice(0, 150)),
  }));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  await fetch("/found", { method: "POST", body: JSON.stringify({ dark, seen }) });
});
"""


def violations(page, folder, *, dark, width, opened="details", seconds=300):
    """What axe finds in a page: by rule, the beginnings of the elements."""
    # the page lets no other script run than its own
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    text = text.replace("</body>", '<script src="/axe.js"></script></body>')
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    axe += RUN.replace("OPENED", json.dumps(opened))
    found: list[dict] = []
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def send(self, status, body=b"", kind="text/plain"):
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            script = self.path == "/axe.js"
            kind = "text/javascript" if script else "text/html"
            self.send(200, (axe if script else text).encode(), kind)

        def do_POST(self):
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send(204)
            done.set()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = subprocess.Popen(
        command(
            folder,
            "--remote-debugging-port=0",  # open until it is ended
            f"--window-size={width},900",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"http://127.0.0.1:{server.server_port}/",
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert done.wait(seconds), "axe did not come to an end"
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        server.shutdown()
    assert found[0]["dark"] == dark
    return {each["rule"]: each["nodes"] for each in found[0]["seen"]}
