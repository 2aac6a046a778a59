"""Many requests of every kind at once: each answer is the one that the request gets alone, and nothing is left over.
With a number as third argument: so many requests (300)."""
import http.client
import json
import os
import random
import sys
import threading
import unittest

import server

server.need_model()
REQUESTS = int(sys.argv.pop(3)) if len(sys.argv) > 3 else 300
CLIENTS = 8
PROMPTS = ["Once upon a time", "The capital of France is", "A plough is", "Rain falls " * 40, "x = 1\ny ="]


def variants():
    """Bodies whose answers are known beforehand."""
    for i, prompt in enumerate(PROMPTS):
        yield "/v1/completions", {"prompt": prompt, "max_tokens": 4 + i, "temperature": 0}
        yield "/v1/completions", {"prompt": prompt, "max_tokens": 6, "temperature": 1.2, "seed": i, "n": 1 + i % 3}
        yield "/v1/chat/completions", {"messages": [{"role": "user", "content": prompt}], "max_tokens": 5, "seed": 3,
                                       "priority": i - 2}


def text_of(choice):
    part = choice.get("message") or choice.get("delta")
    return (part.get("content") or "") if part is not None else choice["text"]


def texts(answer):
    return [text_of(c) for c in answer["choices"]]


class Load(server.WithServer):
    flags = ("-c", "1024")

    def answer(self, path, body):
        status, _, answer = self.server.post(path, body)
        self.assertEqual(status, 200, answer)
        return texts(answer)

    def stream(self, path, body):
        status, _, data = self.server.post(path, dict(body, stream=True))
        self.assertEqual(status, 200, data)
        events = data.split("\n\n")
        self.assertEqual(events[-2:], ["data: [DONE]", ""])
        got = [""] * body.get("n", 1)
        for event in events[:-2]:
            for choice in json.loads(event[6:])["choices"]:
                got[choice["index"]] += text_of(choice)
        return got

    def leave(self, path, body, chance):
        """Hangs up somewhere in the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=server.LIMIT_S)
        connection.request("POST", path, json.dumps(dict(body, stream=True, max_tokens=200, ignore_eos=True)))
        if chance < 0.7:
            connection.getresponse().read(int(chance * 3000))
        connection.close()

    def harm(self, chance):
        bodies = [b"", b"{", b"[" * 50000, b'{"prompt": 5}', b'{"prompt": "a", "n": 1000000}', b'{"prompt": "\xff"}',
                  b'{"prompt": "a", "max_tokens": -1}', b'{"prompt": "a", "temperature": "x"}']
        status, _, body = self.server.post("/v1/completions", bodies[int(chance * len(bodies))])
        self.assertEqual(status, 400, body)
        with self.server.connect() as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n"[:int(chance * 40)])

    def one(self, r):
        path, body = r.choice(self.known)
        kind, chance = r.random(), r.random()
        if kind < 0.4:
            self.assertEqual(self.answer(path, body), self.alone[json.dumps(body)], body)
        elif kind < 0.75:
            self.assertEqual(self.stream(path, body), self.alone[json.dumps(body)], body)
        elif kind < 0.9:
            self.leave(path, body, chance)
        else:
            self.harm(chance)

    def client(self, seed, n):
        r = random.Random(seed)
        try:
            for _ in range(n):
                self.one(r)
        except BaseException as e:  # noqa: B902: told by the test
            self.errors.append(e)

    def use(self, seed, n):
        threads = [threading.Thread(target=self.client, args=(seed + i, n)) for i in range(CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if self.errors:
            raise self.errors[0]

    def memory(self):
        with open(f"/proc/{self.server.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def files(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def test_mixed_load(self):
        self.known = list(variants())
        self.errors = []
        self.alone = {json.dumps(body): self.answer(path, body) for path, body in self.known}
        files = self.files()
        self.use(1, max(REQUESTS // CLIENTS // 4, 5))
        memory = self.memory()
        self.use(100, REQUESTS // CLIENTS)
        self.server.until(lambda: self.server.metric("llamacpp:requests_processing") == 0)
        self.assertEqual(self.server.metric("llamacpp:requests_deferred"), 0)
        self.server.until(lambda: self.server.metric("vllm:kv_cache_usage_perc") == 0)
        self.server.until(lambda: self.files() <= files + 1)
        print(f"{self.memory() / memory - 1:+.2%} memory", flush=True)
        if REQUESTS >= 5000:
            self.assertLess(self.memory(), 1.01 * memory)


if __name__ == "__main__":
    server.main()
