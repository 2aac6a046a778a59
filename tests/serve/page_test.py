"""The page in a real browser: headless Chromium, driven by the WebDriver protocol, which is JSON over HTTP. Pictures go to
build/page-*.png if EVENER_KEEP_PICTURES is set."""
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import server

server.need_model()
DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
if not DRIVER or not BROWSER:
    server.skip("chromium and chromium-driver are not installed")
REPO = sys.argv[2]
ENTER, ESCAPE = "\ue007", "\ue00c"


class Browser:
    def __init__(self, width=1200, height=800, dark=False):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.process = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.root = f"http://127.0.0.1:{port}"
        options = {"binary": BROWSER, "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                               f"--window-size={width},{height}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}}
        for attempt in range(100):
            try:
                self.session = self.call("POST", "/session", wanted)["sessionId"]
                break
            except OSError:
                time.sleep(0.1)
        if dark:
            self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        if width < 600:
            self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)

    def call(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def devtools(self, command, **params):
        self.call("POST", f"/session/{self.session}/goog/cdp/execute", {"cmd": command, "params": params})

    def run(self, script, *args):
        return self.call("POST", f"/session/{self.session}/execute/sync", {"script": script, "args": list(args)})

    def type(self, text):
        """Keys go to what has the focus."""
        keys = [{"type": kind, "value": c} for c in text for kind in ("keyDown", "keyUp")]
        self.call("POST", f"/session/{self.session}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def until(self, script, limit=120):
        end = time.monotonic() + limit
        while not self.run("return " + script):
            if time.monotonic() > end:
                raise AssertionError(f"not within {limit} s: {script}; the page says: {self.run('return document.body.innerText')}")
            time.sleep(0.1)

    def picture(self, name):
        if os.environ.get("EVENER_KEEP_PICTURES"):
            with open(os.path.join(REPO, "build", f"page-{name}.png"), "wb") as file:
                file.write(base64.b64decode(self.call("GET", f"/session/{self.session}/screenshot")))

    def complaints(self):
        return self.call("POST", f"/session/{self.session}/se/log", {"type": "browser"})

    def close(self):
        self.call("DELETE", f"/session/{self.session}")
        self.process.terminate()
        self.process.wait()


IDLE = "document.getElementById('stop').disabled && !document.getElementById('say').value"


class Page(server.WithServer):
    flags = ("-c", "512", "-d", "pocl/1+1", "--served-name", "<b>small</b>")

    def open(self, **how):
        browser = Browser(**how)
        self.addCleanup(browser.close)
        browser.call("POST", f"/session/{browser.session}/url", {"url": self.server.url + "/"})
        browser.until("document.getElementById('model').textContent === '<b>small</b>'")
        return browser

    def ask(self, browser, text):
        browser.run("document.getElementById('most').value = 24; document.getElementById('temperature').value = 0")
        browser.type(text + ENTER)
        browser.until("document.querySelectorAll('.message.assistant .note').length && " + IDLE)

    def test_chat(self):
        b = self.open()
        self.ask(b, "Say <i>hello</i>.")  # the field has the focus: no mouse is needed
        self.assertEqual(b.run("return document.querySelector('.message.user').textContent"), "Say <i>hello</i>.")
        self.assertEqual(b.run("return document.querySelectorAll('.message.user i').length"), 0)
        first = b.run("return document.querySelector('.message.assistant').textContent")
        self.assertRegex(first, r"\d+ tokens, first after [\d.]+ s")
        self.assertTrue(b.run("return document.getElementById('say-aloud').textContent"))
        b.until("document.querySelectorAll('#ranks .rank').length === 2")
        b.picture("chat")
        b.run("document.getElementById('again').click()")
        b.until("document.querySelectorAll('.message.assistant .note').length === 1 && " + IDLE)
        b.call("POST", f"/session/{b.session}/refresh")  # the conversation is kept
        b.until("document.querySelectorAll('.message').length === 2")
        b.run("document.getElementById('new').click()")
        b.until("document.querySelectorAll('.message').length === 0")
        self.assertEqual([c for c in b.complaints() if c["level"] == "SEVERE"], [])

    def test_stop_by_key(self):
        b = self.open()
        b.run("document.getElementById('most').value = 400")
        b.type("Count to a thousand." + ENTER)
        b.until("document.querySelector('.message.assistant')?.textContent.length > 5")
        b.type(ESCAPE)
        b.until("document.querySelector('.message.assistant .note')?.textContent === 'stopped' && " + IDLE)
        self.server.until(lambda: self.server.metric('evener:cache_blocks{state="used"}') == 0)

    def test_markdown(self):
        b = self.open(dark=True)
        text = ("# Head\n\nA **bold** word, `code`, [a link](https://example.org/) and <script>alert(1)</script>.\n\n"
                "1. one\n2. two\n   - inner\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> said\n\n```python\nx = 1 < 2\n```\n"
                "[bad](javascript:alert(1))\n")
        got = b.run("const e = document.createElement('div'); e.className = 'message assistant'; document.getElementById('log')"
                    ".append(e); markdown(e, arguments[0]); return e.innerHTML", text)
        for part in ("<h3>Head</h3>", "<strong>bold</strong>", "<code>code</code>", 'href="https://example.org/"', "<li>one</li>",
                     "<ul><li>inner</li></ul>", "<th>a</th>", "<td>2</td>", "<blockquote><p>said</p></blockquote>", "x = 1 &lt; 2",
                     "&lt;script&gt;"):
            self.assertIn(part, got)
        self.assertNotIn("javascript:alert(1)\"", got)
        b.picture("dark")

    def test_phone(self):
        b = self.open(width=390, height=800)
        self.assertFalse(b.run("return document.documentElement.scrollWidth > innerWidth"))
        self.assertTrue(b.run("return getComputedStyle(document.querySelector('aside')).display === 'none'"))
        b.run("document.getElementById('show-live').click()")
        self.assertFalse(b.run("return getComputedStyle(document.querySelector('aside')).display === 'none'"))
        self.assertFalse(b.run("return document.documentElement.scrollWidth > innerWidth"))
        b.picture("phone")

    def test_names(self):
        """Everything that can be used has a name for a screen reader."""
        b = self.open()
        nameless = b.run("return [...document.querySelectorAll('button, input, textarea, [role]')].filter(e => !(e.textContent.trim() "
                         "|| e.ariaLabel || e.labels?.length || e.getAttribute('role') === 'status')).map(e => e.outerHTML)")
        self.assertEqual(nameless, [])


if __name__ == "__main__":
    server.main()
