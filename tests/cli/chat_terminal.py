#!/usr/bin/env python3
"""chat_terminal.py EVENER MODEL FOLDER - `evener chat` on a pseudo-terminal: prompts, editing, history, Ctrl-C and
Ctrl-D. FOLDER becomes the user's state folder."""
import json
import os
import pathlib
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time

EVENER, MODEL, FOLDER = sys.argv[1:]
failures = 0
LIMIT_S = 120  # for one answer on a busy machine


def check(condition, what, seen=""):
    global failures
    if not condition:
        failures += 1
        print(f"FAILED: {what}: {seen[-600:]!r}")


class Chat:
    def __init__(self, *arguments):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(XDG_STATE_HOME=FOLDER, TERM="xterm", HOME=FOLDER)
            os.environ.pop("NO_COLOR", None)
            os.execv(EVENER, [EVENER, "chat", "-m", MODEL, "-d", "pocl", "--temp", "0", *arguments])

    def wait_for(self, what, limit_s=LIMIT_S):
        """Reads until the regular expression is in what came since the last call; returns that."""
        end = time.monotonic() + limit_s
        while not re.search(what, self.text):
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            try:
                data = os.read(self.fd, 65536) if ready else b""
            except OSError:  # the other side is closed
                data = b""
            if not data:
                check(False, f"no {what!r} came", self.text)
                break
            self.text += data.decode(errors="replace")
        text, self.text = self.text, ""
        return text

    def send(self, text):
        os.write(self.fd, text.encode())

    def ask(self, text):
        """The answer, up to the next prompt."""
        self.send(text + "\r")
        return self.wait_for(r"\n> $|\r> $")

    def end(self, limit_s=20):
        """The exit status."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            try:
                if select.select([self.fd], [], [], 0.05)[0]:
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        return "killed"


def talk():
    chat = Chat("-n", "30")
    greeting = chat.wait_for("> $")
    check("/help" in greeting, "no greeting", greeting)
    check("Paris" in chat.ask("What is the capital of France?"), "a question")
    chat.ask("\x1b[A\x01Again: \x05 Really?")  # the last line, with something before and behind it
    check("/regen" in chat.ask("/help"), "/help")
    check("unknown command /rest; did you mean /reset?" in chat.ask("/rest"), "a wrong command ends nothing")
    chat.send("Say one \\\r")
    chat.wait_for(r"\. $")
    check(len(chat.ask("word.")) > 10, "a backslash continues a message")
    chat.send('"""\r')
    chat.wait_for(r"\. $")
    chat.send("a\r")
    chat.wait_for(r"\. $")
    chat.send("b\r")
    chat.wait_for(r"\. $")
    check(len(chat.ask('"""')) > 10, "a block")
    check("messages" in chat.ask("/stats"), "/stats")
    chat.send("\x04")
    check(chat.end() == 0, "Ctrl-D ends the chat", chat.text)
    history = pathlib.Path(FOLDER, "evener", "chat_history")
    check(stat.S_IMODE(history.stat().st_mode) == 0o600, "the history is private")
    lines = history.read_text().replace("\\040", " ")
    check("Again: What is the capital of France? Really?" in lines, "editing a line of the history", lines)


def interrupt():
    chat = Chat()
    chat.wait_for("> $")
    chat.send("Write a very long story about a ship.\r")
    chat.wait_for(r"ship\.\r\n[^>]*?([A-Za-z]+[ ,.]+){12}")  # the answer has begun
    chat.send("\x03")
    seen = chat.wait_for("> $", 20)
    check("the answer ends here: interrupted" in seen, "Ctrl-C stops an answer", seen)
    check("messages" in chat.ask("/stats"), "the chat goes on after Ctrl-C")
    chat.send("half a line\x03")
    seen = chat.wait_for("> $", 20)
    check("Ctrl-C again" in seen, "Ctrl-C at the prompt asks", seen)
    check("messages" in chat.ask("/stats"), "the half line is gone")
    chat.send("\x03")
    chat.wait_for("> $", 20)
    chat.send("\x03")
    check(chat.end() == 0, "Ctrl-C twice ends the chat", chat.text)


def signals():
    chat = Chat("-q")
    chat.wait_for("> $")
    os.kill(chat.pid, signal.SIGTERM)
    check(chat.end() == 130, "SIGTERM ends the chat at once", chat.text)


def reasoning():
    template = pathlib.Path(FOLDER, "thinks.jinja")
    template.write_text("<|im_start|>user\n{{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n<think>\n")
    chat = Chat("-q", "-n", "5", "--chat-template", str(template))
    chat.wait_for("> $")
    seen = chat.ask("Hi")
    check("\x1b[2m" in seen and "\x1b[0m" in seen.split("\x1b[2m")[1], "reasoning is dimmed", seen)
    chat.send("/exit\r")
    check(chat.end() == 0, "/exit ends the chat", chat.text)


def escapes():
    done = subprocess.run([EVENER, "tokenize", "-m", MODEL, "-p", "\x1b", "--json"], capture_output=True, check=True)
    escape = json.loads(done.stdout)["ids"][0]
    chat = Chat("-q", "-n", "3", "--logit-bias", f"{escape}:1000")
    chat.wait_for("> $")
    check("???" in chat.ask("Hi"), "control characters of an answer do not reach the terminal")
    chat.send("\x04")
    chat.end()


talk()
interrupt()
signals()
reasoning()
escapes()
print("terminal: all as expected" if failures == 0 else f"terminal: {failures} failures")
sys.exit(failures > 0)
