"""Clients that hang up free what their requests hold, a full queue is said, and a signal ends the server in time."""
import json
import signal
import socket
import tempfile
import threading
import time
import unittest

import server

server.need_model()
LONG = {"prompt": "Once upon a time", "max_tokens": 1500, "ignore_eos": True, "temperature": 1}


def send(s, body):
    """A completion on its own socket, without waiting for the answer."""
    data = json.dumps(body).encode()
    connection = s.connect()
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
    return connection


def read_all(connection):
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


class Leaving(server.WithServer):
    flags = ("-c", "2048")

    def wait_for(self, running, waiting=None, limit=60):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            now = (self.server.metric("llamacpp:requests_processing"), self.server.metric("llamacpp:requests_deferred"))
            if now[0] == running and waiting in (None, now[1]):
                return
            time.sleep(0.05)
        self.fail(f"{now} requests run and wait, expected {(running, waiting)}")

    def check_free(self):
        self.wait_for(0, 0)
        self.server.until(lambda: self.server.metric("vllm:kv_cache_usage_perc") == 0)
        self.assertEqual(self.server.get("/health")[0], 200)

    def test_stream(self):
        connection = send(self.server, dict(LONG, stream=True))
        self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200"))
        self.wait_for(1)
        began = time.monotonic()
        connection.close()
        self.check_free()
        self.assertLess(time.monotonic() - began, 10)

    def test_whole_answer(self):
        connection = send(self.server, LONG)
        self.wait_for(1)
        connection.close()
        self.check_free()

    def test_half_closed(self):
        connection = send(self.server, LONG)
        self.wait_for(1)
        connection.shutdown(socket.SHUT_WR)
        self.check_free()
        connection.close()

    def test_several_choices(self):
        connection = send(self.server, dict(LONG, n=4, stream=True))
        self.assertTrue(connection.recv(4096))
        connection.close()
        self.check_free()

    def test_reset_at_every_moment(self):
        for i in range(30):
            connection = send(self.server, dict(LONG, stream=i % 2 == 0, n=1 + i % 3))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            time.sleep(i * 0.005)
            connection.close()
        self.check_free()

    def test_http_1_0(self):
        body = json.dumps(dict(LONG, max_tokens=8, stream=True)).encode()
        with self.server.connect() as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            self.assertTrue(read_all(connection).endswith(b"data: [DONE]\n\n"))
        self.check_free()

    def test_two_requests_at_once_on_a_connection(self):
        body = json.dumps(dict(LONG, max_tokens=4)).encode()
        one = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        with self.server.connect() as connection:
            connection.sendall(one + one)
            got = b""
            while got.count(b'"total_tokens"') < 2:
                got += connection.recv(65536)
        self.check_free()


class Full(unittest.TestCase):
    def test_queue(self):
        s = server.Server("-c", "256", "--max-waiting", "2")
        open_ones = []
        try:
            for _ in range(60):
                open_ones.append(send(s, dict(LONG, max_tokens=200)))
                if s.metric("llamacpp:requests_deferred") == 2:
                    break
            status, headers, body = s.post("/v1/completions", dict(LONG, max_tokens=200))
            self.assertEqual((status, headers["Retry-After"]), (429, "1"), body)
            self.assertEqual(body["error"]["code"], "queue_full")
            for connection in open_ones:
                connection.close()
            self.assertEqual(s.stop()[0], 0)
        finally:
            s.kill()


class Ending(unittest.TestCase):
    def check(self, number):
        s = server.Server()
        try:
            stream, whole = send(s, dict(LONG, stream=True)), send(s, LONG)
            first = stream.recv(4096)
            self.assertTrue(first.startswith(b"HTTP/1.1 200"))
            got = {}
            threads = [threading.Thread(target=lambda c=c, n=n: got.__setitem__(n, read_all(c)))
                       for n, c in (("stream", stream), ("whole", whole))]
            for t in threads:
                t.start()
            time.sleep(0.2)
            code, took = s.stop(number)
            for t in threads:
                t.join()
            self.assertEqual(code, 0, s.said())
            self.assertLess(took, 30)  # two seconds, and the kernel that is being compiled
            self.assertIn(b"the server is stopping", got["stream"])
            self.assertIn(b"data: [DONE]", got["stream"])
            self.assertTrue(got["whole"].startswith(b"HTTP/1.1 503"), got["whole"])
            stream.close()
            whole.close()
        finally:
            s.kill()

    def test_signal_while_a_kernel_is_compiled(self):
        with tempfile.TemporaryDirectory() as cache:
            s = server.Server(POCL_CACHE_DIR=cache)
            try:
                connection = send(s, dict(LONG, max_tokens=2))
                time.sleep(0.3)
                self.assertEqual(s.stop()[0], 0)
                answer = read_all(connection)
                self.assertIn(answer[:12], (b"HTTP/1.1 200", b"HTTP/1.1 503"), answer)  # 503: there was no time to end it
                connection.close()
            finally:
                s.kill()

    def end_s(self, watched):
        s = server.Server()
        try:
            with s.connect() as connection:
                connection.sendall(b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"events" if watched else b"health"))
                self.assertIn(b"200 OK", connection.recv(65536))
                code, took = s.stop()
            self.assertEqual(code, 0, s.said())
            return took
        finally:
            s.kill()

    def test_events_do_not_delay_the_end(self):
        self.assertLess(min(self.end_s(True) - self.end_s(False) for _ in range(3)), 1)  # the grace is 2 s

    def test_terminate(self):
        self.check(signal.SIGTERM)

    def test_interrupt(self):
        self.check(signal.SIGINT)

    def test_short_answers_are_ended(self):
        s = server.Server()
        try:
            connection = send(s, dict(LONG, max_tokens=3, stream=True))
            self.assertTrue(connection.recv(1024))
            self.assertEqual(s.stop()[0], 0)
            self.assertTrue(read_all(connection).rstrip().endswith(b"0"))  # the last chunk
            connection.close()
        finally:
            s.kill()


if __name__ == "__main__":
    server.main()
