"""What the tests of this folder share: a running server, and requests without a client library.

Each test file is run as FILE.py EVENER REPO. It exits with 77 if the model or a package is missing."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

EVENER = os.path.abspath(sys.argv[1])
REPO = os.path.abspath(sys.argv[2])
MODEL = os.environ.get("EVENER_TEST_MODEL", "")
LIMIT_S = 300  # for what takes a second; a build with sanitizers on a busy machine is slow


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def need_model():
    if not os.path.exists(MODEL):
        skip("EVENER_TEST_MODEL names no file")


def need_clients():
    """Packages of scripts/fetch-clients."""
    folder = os.environ.get("EVENER_CLIENTS_DIR", "")
    if not os.path.isdir(folder):
        skip("EVENER_CLIENTS_DIR names no folder")
    sys.path.insert(0, folder)


def drivers(folder):
    """PoCL alone: each driver costs a part of a second."""
    vendors = pathlib.Path(os.environ.get("OCL_ICD_VENDORS", "/etc/OpenCL/vendors"))
    if not (vendors / "pocl.icd").exists():
        skip("PoCL is not installed")
    shutil.copy(vendors / "pocl.icd", folder)
    return str(folder)


class Server:
    def __init__(self, *flags, wait=True, log="warn", **variables):
        self.folder = tempfile.TemporaryDirectory()
        vendors = pathlib.Path(self.folder.name, "vendors")
        vendors.mkdir()
        self.errors = open(pathlib.Path(self.folder.name, "err"), "w+")
        environment = dict(os.environ, OCL_ICD_VENDORS=drivers(vendors), EVENER_LOG=log, **variables)
        self.process = subprocess.Popen([EVENER, "serve", "-m", MODEL, "--port", "0", *flags], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            said = self.said()
            self.kill()
            raise RuntimeError(f"no address: {said}")
        self.port = int(self.url.rpartition(":")[2])
        if wait:
            self.wait_until_ready()

    def said(self):
        self.errors.flush()
        return pathlib.Path(self.errors.name).read_text()

    def wait_until_ready(self):
        end = time.monotonic() + LIMIT_S
        while self.get("/health")[0] != 200:
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"not ready: {self.said()}")
            time.sleep(0.05)

    def until(self, condition, limit=60):
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("this did not happen in time")
            time.sleep(0.05)

    def connect(self, timeout=LIMIT_S):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def request(self, method, path, body=None, headers=None):
        """Status, headers, body; the body is read as JSON where it says so."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            is_json = answer.headers.get("Content-Type") == "application/json" and data
            return answer.status, answer.headers, json.loads(data) if is_json else data.decode()
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, headers=None):
        return self.request("POST", path, body, headers)

    def metric(self, name):
        for line in self.get("/metrics")[2].splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise KeyError(name)

    def stop(self, number=signal.SIGTERM):
        """Exit status and seconds that it took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(LIMIT_S)
        took = time.monotonic() - began
        return code, took

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        self.folder.cleanup()


class WithServer(unittest.TestCase):
    """One server for all tests of a class."""
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags)

    @classmethod
    def tearDownClass(cls):
        code, _ = cls.server.stop()
        said = cls.server.said()
        cls.server.kill()
        if code != 0:
            raise AssertionError(f"the server ended with {code}: {said}")

    def check_error(self, answer, status, part, param=None):
        self.assertEqual(answer[0], status, answer[2])
        error = answer[2]["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertIn(part, error["message"])
        self.assertEqual(error["param"], param)


class WithOpenAI(WithServer):
    """The same, with the unmodified openai client as `client`. After need_clients."""

    @classmethod
    def setUpClass(cls):
        import openai

        super().setUpClass()
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        super().tearDownClass()


def main():
    del sys.argv[1:3]
    unittest.main(verbosity=2)
