"""The next turn of a conversation computes what is new, and at most one cache block more. The third argument is the length of
the conversation in tokens; with "timed" behind it, the first token of the turn must also come as soon as that computing takes."""
import http.client
import json
import sys
import time
import unittest

import server

server.need_model()
LENGTH = int(sys.argv[3]) if len(sys.argv) > 3 else 600
TIMED = sys.argv[4:] == ["timed"]
WORDS = "river stone engine light winter paper garden signal harbour copper bridge letter music window forest".split()


class Turns(server.WithServer):
    flags = ("-c", "4096", "--temp", "0")

    def chat(self, messages, n=40):
        status, _, got = self.server.post("/v1/chat/completions", {"messages": messages, "max_tokens": n})
        self.assertEqual(status, 200, got)
        return got["choices"][0]["message"]["content"], got["usage"]

    def first_token_s(self, messages):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=server.LIMIT_S)
        began = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps({"messages": messages, "max_tokens": 2, "stream": True}))
        answer = connection.getresponse()
        for line in answer:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                took = time.monotonic() - began
                answer.read()
                connection.close()
                return took
        raise AssertionError("no token")

    def user(self, n_words, shift=0):
        return {"role": "user", "content": " ".join(WORDS[(i * i + shift) % len(WORDS)] for i in range(n_words))}

    def test_next_turn(self):
        messages = [self.user(LENGTH - 100)]
        text, first = self.chat(messages)
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And what is the harbour for?"}]
        _, second = self.chat(messages)
        own = second["prompt_tokens"] - first["prompt_tokens"] - first["completion_tokens"]
        computed = second["prompt_tokens"] - second["prompt_tokens_details"]["cached_tokens"]
        self.assertGreater(first["prompt_tokens"], LENGTH - 100)
        self.assertLess(computed, own + 70)

    @unittest.skipUnless(TIMED, "not timed")
    def test_starts_soon(self):
        ratios = []
        for turn in range(5):
            messages = [self.user(LENGTH - 100, 1 + turn)]
            text, _ = self.chat(messages, 8)
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And what is the harbour for?"}]
            took = self.first_token_s(messages)
            ratios.append(took / self.first_token_s([self.user(70, 100 + turn)]))  # about what a turn computes at most
        print("first token of the turn, compared with that of 90 tokens alone:", ", ".join(f"{r:.2f}" for r in ratios))
        self.assertLess(sorted(ratios)[2], 1.5)


if __name__ == "__main__":
    del sys.argv[3:]
    server.main()
