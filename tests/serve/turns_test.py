"""The next turn of a conversation computes what is new, and the last id that was drawn. The third argument is the length of
the conversation in tokens."""
import sys

import server

server.need_model()
LENGTH = int(sys.argv[3]) if len(sys.argv) > 3 else 600
WORDS = "river stone engine light winter paper garden signal harbour copper bridge letter music window forest".split()


class Turns(server.WithServer):
    flags = ("-c", "4096", "--temp", "0")

    def chat(self, messages, n=40):
        status, _, got = self.server.post("/v1/chat/completions", {"messages": messages, "max_tokens": n})
        self.assertEqual(status, 200, got)
        return got["choices"][0]["message"]["content"], got["usage"]

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
        self.assertLess(computed, own + 3)


if __name__ == "__main__":
    del sys.argv[3:]
    server.main()
