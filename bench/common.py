"""Shared by the parts of the benchmark: paths, running a program with its time and memory, medians, notes."""

import json
import os
import signal
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build", "bench")  # models, caches and programs of the benchmark; may be deleted
LIMIT_S = 900  # limit of one run of a program


class Failed(Exception):
    """A part that cannot be measured. Its text becomes a note."""


class Notes(list):
    def add(self, text):
        if text not in self:
            self.append(text)
            print("note:", text, flush=True)


class Ran:
    """A finished program: output, seconds to its first byte of output, seconds in all, peak memory."""

    def __init__(self, command, environment):
        began = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=environment, start_new_session=True)
        errors = []
        reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
        reader.start()
        timer = threading.Timer(LIMIT_S, lambda: os.killpg(child.pid, signal.SIGKILL))
        timer.start()
        try:
            first = child.stdout.read(1)
            self.first_s = time.monotonic() - began
            self.output = (first + child.stdout.read()).decode(errors="replace")
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:  # an interrupted benchmark leaves nothing running
            os.killpg(child.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
        self.seconds = time.monotonic() - began
        self.status = child.returncode = os.waitstatus_to_exitcode(status)
        reader.join()
        self.errors = errors[0].decode(errors="replace")
        self.peak_bytes = usage.ru_maxrss * 1024

    def reason(self):
        """Why it failed, in one line."""
        if self.status < 0:
            return "ended by " + signal.Signals(-self.status).name
        lines = [line for line in self.errors.splitlines() if line.strip()]
        return f"exit status {self.status}" + (": " + lines[-1] if lines else "")


def run(command, environment=None):
    """Runs a command (a list) to a successful end, or raises Failed. environment: what to add to ours."""
    ran = Ran(command, {**os.environ, **(environment or {})})
    if ran.status != 0:
        raise Failed(f"{os.path.basename(command[0])} {' '.join(command[1:])}: {ran.reason()}")
    return ran


def run_json(command, environment=None):
    ran = run(command, environment)
    return json.loads(ran.output), ran


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
