"""The server as seen from a socket: paths, methods, keys, origins, and requests that are wrong or meant to harm."""
import json
import os
import pathlib
import socket
import tempfile
import threading
import time
import unittest

import server

server.need_model()


class Paths(server.WithServer):
    def test_health_and_models(self):
        self.assertEqual(self.server.get("/health")[2], {"status": "ok"})
        status, _, models = self.server.get("/v1/models")
        self.assertEqual((status, models["object"], len(models["data"])), (200, "list", 1))
        model = models["data"][0]
        self.assertEqual(model["object"], "model")
        self.assertEqual(self.server.get("/v1/models/" + model["id"].replace(" ", "%20"))[2], model)
        self.check_error(self.server.get("/v1/models/other"), 404, "found 'other'", "model")

    def test_tokens(self):
        status, _, got = self.server.post("/tokenize", {"content": "Hello world"})
        self.assertEqual((status, got), (200, {"tokens": [19556, 905]}))
        got = self.server.post("/tokenize", {"content": "Hello <|im_end|>", "with_pieces": True})[2]["tokens"]
        self.assertEqual([t["piece"] for t in got], ["Hello", " ", "<|im_end|>"])
        got = self.server.post("/tokenize", {"content": "<|im_end|>", "parse_special": False})[2]["tokens"]
        self.assertGreater(len(got), 1)
        self.assertEqual(self.server.post("/detokenize", {"tokens": [19556, 905]})[2], {"content": "Hello world"})
        self.check_error(self.server.post("/detokenize", {"tokens": [10**6]}), 400, "1000000", "tokens")
        self.check_error(self.server.post("/detokenize", {"tokens": "1"}), 400, "found the string", "tokens")
        self.check_error(self.server.post("/tokenize", {}), 400, "found nothing", "content")

    def test_paths_and_methods(self):
        self.check_error(self.server.get("/nothing"), 404, "/nothing")
        answer = self.server.get("/tokenize")
        self.check_error(answer, 405, "expected POST")
        self.assertEqual(answer[1]["Allow"], "POST, OPTIONS")
        answer = self.server.post("/v1/models", "")
        self.assertEqual((answer[0], answer[1]["Allow"]), (405, "GET, HEAD, OPTIONS"))
        status, headers, body = self.server.request("HEAD", "/health")
        self.assertEqual((status, body), (200, ""))
        self.assertEqual(headers["Content-Length"], str(len('{"status":"ok"}')))
        self.assertEqual(self.server.request("DELETE", "/health")[0], 405)
        status, headers, body = self.server.request("OPTIONS", "/v1/models")
        self.assertEqual((status, body), (204, ""))
        self.assertIsNone(headers["Access-Control-Allow-Origin"])

    def test_openapi(self):
        served = self.server.get("/openapi.json")[2]
        self.assertEqual(served["openapi"], "3.1.0")
        for path, methods in served["paths"].items():
            method = "POST" if "get" in methods else "GET"
            self.assertEqual(self.server.request(method, path)[0], 405, path)

    def test_page(self):
        status, headers, body = self.server.get("/")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertNotRegex(body, r'(src|href|url\()[="]*(https?:)?//')  # nothing from elsewhere

    def test_events(self):
        """A stream of what the devices do, every second, until the client leaves."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=server.LIMIT_S) as s:
            s.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            got = s.makefile("rb")
            found = []
            while len(found) < 3:
                line = got.readline()
                if line.startswith(b"data: "):
                    found.append(json.loads(line[6:]))
        for before, now in zip(found, found[1:]):
            self.assertGreater(now["time_s"] - before["time_s"], 0.9)
        self.assertGreater(found[0]["blocks"]["all"], 0)
        self.assertAlmostEqual(sum(r["share_decode"] for r in found[0]["ranks"]), 1, places=6)

    def test_browsers(self):
        self.check_error(self.server.get("/health", {"Origin": "https://evil.example"}), 403, "evil.example")
        self.check_error(self.server.get("/health", {"Host": "evil.example"}), 403, "evil.example")
        own = f"http://127.0.0.1:{self.server.port}"
        self.assertEqual(self.server.get("/health", {"Origin": own})[0], 200)

    def test_connection_is_kept(self):
        with self.server.connect() as s:
            for _ in range(3):
                s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b"200 OK", s.recv(4096))
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4)  # at once
            got = b""
            while got.count(b'"ok"') < 4:
                got += s.recv(4096)


class LongName(server.WithServer):
    """An event is whole, however long it is."""
    flags = ("--served-name", "m" * 2000)

    def test_events(self):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=server.LIMIT_S) as s:
            s.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            event = next(line for line in s.makefile("rb") if line.startswith(b"data: "))
        self.assertEqual(json.loads(event[6:])["model"], self.flags[1])


class Keys(unittest.TestCase):
    def test_keys_and_cors(self):
        with tempfile.TemporaryDirectory() as folder:
            keys = pathlib.Path(folder, "keys")
            keys.write_text("secret-1\nsecret-2\n")
            keys.chmod(0o600)
            s = server.Server("--api-key-file", str(keys), "--cors", "https://chat.example", "--served-name", "m")
        try:
            self.assertEqual(s.get("/health")[0], 200)
            status, headers, body = s.get("/v1/models")
            self.assertEqual((status, headers["WWW-Authenticate"]), (401, "Bearer"))
            self.assertEqual(body["error"]["code"], "invalid_api_key")
            self.assertEqual(s.get("/nothing")[0], 401)
            self.assertEqual(s.get("/v1/models", {"Authorization": "Bearer secret-3"})[0], 401)
            self.assertEqual(s.get("/v1/models", {"x-api-key": "secret-3"})[0], 401)
            self.assertEqual(s.get("/v1/models", {"x-api-key": "secret-2"})[0], 200)
            status, _, body = s.get("/v1/models", {"Authorization": "Bearer secret-2", "Host": "name.example"})
            self.assertEqual((status, body["data"][0]["id"]), (200, "m"))
            page = {"Origin": "https://chat.example"}
            status, headers, _ = s.request("OPTIONS", "/v1/models", headers=page)
            self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (204, "https://chat.example"))
            self.assertIn("Authorization", headers["Access-Control-Allow-Headers"])
            headers = s.get("/v1/models", dict(page, Authorization="Bearer secret-1"))[1]
            self.assertEqual(headers["Access-Control-Allow-Origin"], "https://chat.example")
            self.assertEqual(s.stop()[0], 0)
        finally:
            s.kill()


class Template(unittest.TestCase):
    def test_template_and_variables(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
            f.write("{% for m in messages %}{{ m.content }}{{ a }}{{ b }}{% endfor %}")
            f.flush()
            s = server.Server("--chat-template", f.name, "--chat-variables", '{"a": 1, "b": 2}')
        try:
            body = {"messages": [{"role": "user", "content": "x"}]}
            self.assertEqual(s.post("/apply-template", body)[2], {"prompt": "x12"})
            body["chat_template_kwargs"] = {"b": 3}
            self.assertEqual(s.post("/apply-template", body)[2], {"prompt": "x13"})
            self.assertEqual(s.stop()[0], 0)
        finally:
            s.kill()


class Harm(server.WithServer):
    flags = ("--max-body", "1", "--request-time", "2s", "--max-connections", "32")

    def tearDown(self):
        self.assertEqual(self.server.get("/health")[0], 200)  # others are unharmed

    def answer_to(self, data, timeout=60):
        """The first bytes of the answer; b"" if the connection is closed without one."""
        with self.server.connect(timeout) as s:
            try:
                s.sendall(data)
                return s.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return b""

    def refused(self, data):
        got = self.answer_to(data)
        self.assertTrue(got == b"" or got.startswith(b"HTTP/1.1 4"), got[:200])
        return got

    def post_of(self, body, headers=b""):
        return b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(body), body)

    def test_many_headers(self):
        self.refused(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 100000 + b"\r\n")

    def test_long_header(self):
        self.refused(b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * (1 << 20) + b"\r\n\r\n")

    def test_long_path(self):
        self.refused(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def test_no_http(self):
        for data in (b"\r\n\r\n\r\n", b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 99 + b"\r\n\r\n"):
            with self.server.connect(30) as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                got = s.recv(4096)
                self.assertTrue(got == b"" or got[9:10] in b"45", got[:80])

    def test_two_lengths(self):
        chunked = b"Transfer-Encoding: chunked\r\n"
        got = self.refused(self.post_of(b"0\r\n\r\n", chunked))
        self.assertIn(b"Transfer-Encoding", got)
        self.refused(self.post_of(b'{"content":"a"}', b"Content-Length: 3\r\n"))
        self.refused(self.post_of(b"{}", b"Transfer-Encoding: gzip, chunked\r\n"))

    def test_lengths_that_are_none(self):
        for length in (b"-1", b"99999999999999999999999", b"0x10", b"1 1", b"nan"):
            self.refused(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\n{}" % length)
        for chunk in (b"ffffffffffffffffffff\r\n", b"-1\r\n", b"zz\r\n"):
            self.refused(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)

    def test_giant_body(self):
        got = self.answer_to(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        self.assertTrue(got.startswith(b"HTTP/1.1 413"), got[:80])
        block = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        data = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + block * 40 + b"0\r\n\r\n"
        self.assertTrue(self.answer_to(data).startswith(b"HTTP/1.1 413"))

    def test_chunked_body(self):
        got = self.answer_to(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                             b"6\r\n{\"cont\r\n9\r\nent\":\"a\"}\r\n0\r\n\r\n")
        self.assertTrue(got.startswith(b"HTTP/1.1 200"), got[:80])

    def test_json(self):
        for body in (b'{"content":' + b"[" * 100000, b'{"content": "\xff\xfe"}', b'{"content": "\\ud800"}', b"", b"[]",
                     b'{"content": "a", "content": "b"}', b'{"content": 1e999}', b"{" * 1000, b'{"content":"a"}\0'):
            got = self.refused(self.post_of(body))
            self.assertIn(b'"invalid_request_error"', got)

    def test_slow_requests(self):
        """A byte now and then: the whole request has a time limit, and other clients do not wait."""
        began = time.monotonic()
        slow = [self.server.connect(60) for _ in range(8)]
        ended = []

        def drip(s, data):
            try:
                for byte in data:
                    s.sendall(bytes([byte]))
                    time.sleep(0.3)
                    s.setblocking(False)
                    try:
                        if s.recv(1) == b"":
                            break
                    except BlockingIOError:
                        pass
                    s.setblocking(True)
            except OSError:
                pass
            ended.append(time.monotonic() - began)

        head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaa"
        body = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        for s in slow[4:]:
            s.sendall(body)
        threads = [threading.Thread(target=drip, args=(s, head if i < 4 else b" " * 100)) for i, s in enumerate(slow)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            self.assertEqual(self.server.get("/health")[0], 200)
            time.sleep(0.2)
        for s in slow:
            s.close()
        self.assertLess(max(ended), 20)

    def test_files_stay_few(self):
        folder = f"/proc/{self.server.process.pid}/fd"
        for _ in range(50):
            self.server.get("/health")
        before = len(os.listdir(folder))
        for i in range(200):
            with self.server.connect() as s:
                s.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"[:i % 70])
        self.server.until(lambda: len(os.listdir(folder)) <= before + 2)


class Start(unittest.TestCase):
    def test_answers_while_loading_and_ends(self):
        s = server.Server(wait=False)
        try:
            status, headers, body = s.get("/health")
            if status == 503:  # a fast machine has loaded it already
                self.assertEqual(body["error"]["type"], "unavailable_error")
                self.assertTrue(headers["Retry-After"])
                self.assertEqual(s.post("/tokenize", {"content": "a"})[0], 503)
            s.wait_until_ready()
            self.assertEqual(s.stop()[0], 0)
        finally:
            s.kill()

    def test_ends_while_loading(self):
        s = server.Server(wait=False)
        try:
            code, took = s.stop()
            self.assertEqual(code, 0, s.said())
            self.assertLess(took, 20)
        finally:
            s.kill()

    def test_taken_port(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with self.assertRaisesRegex(RuntimeError, "in use"):
                server.Server("--port", str(taken.getsockname()[1]))


if __name__ == "__main__":
    server.main()
