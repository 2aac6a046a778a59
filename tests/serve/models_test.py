"""Several models in one server: chosen by name, loaded on demand, unloaded when another one needs their place or when
nobody uses them; never while they are used. By the unmodified openai client."""
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import server

server.need_model()
server.need_clients()
import openai  # noqa: E402

PROMPT = "The capital of France is"
MANY = {"temperature": 0, "max_tokens": 200, "extra_body": {"ignore_eos": True}}


class Models(server.WithOpenAI):
    flags = ("--served-name", "one", "-c", "512", "--add-model", "two=" + server.MODEL, "--add-model",
             "three=" + server.MODEL, "--most-loaded", "2", "--unload-after", "3s")

    def complete(self, model, **options):
        return self.client.completions.create(
            **{"model": model, "prompt": PROMPT, "temperature": 0, "max_tokens": 8, **options})

    def loaded(self):
        return {m.id for m in self.client.models.list() if m.status["value"] == "loaded"}

    def wait_for(self, condition):
        until = time.monotonic() + server.LIMIT_S
        while not condition():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)

    def test_list(self):
        self.assertEqual([m.id for m in self.client.models.list()], ["one", "two", "three"])
        self.assertEqual(self.client.models.retrieve("three").meta["n_vocab"], 49152)

    def test_unknown(self):
        with self.assertRaises(openai.NotFoundError) as failure:
            self.complete("four")
        self.assertEqual(failure.exception.code, "model_not_found")
        self.assertIn("expected 'one' or 'two' or 'three', found 'four'", str(failure.exception))
        status, _, answer = self.server.post("/v1/messages", {
            "model": "four", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]})
        self.assertEqual((status, answer["type"]), (404, "error"))
        self.assertEqual(self.server.post("/tokenize", {"content": "a", "model": "four"})[0], 404)
        self.assertEqual(self.server.post("/v1/completions", [1])[0], 400)
        self.assertEqual(self.server.post("/v1/completions", {"model": 4, "prompt": "a"})[0], 400)

    def test_choice(self):
        """Also at once; more models than may be loaded take turns. The text is the same."""
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            answers = list(pool.map(self.complete, ["one", "two", "three"] * 3))
        self.assertEqual([a.model for a in answers], ["one", "two", "three"] * 3)
        self.assertEqual({a.choices[0].text for a in answers}, {answers[0].choices[0].text})
        self.assertIn("Paris", answers[0].choices[0].text)
        self.assertLessEqual(len(self.loaded()), 2)
        self.assertEqual(self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})[2]["model"], "one")
        self.assertEqual(self.server.post("/tokenize", {"content": "The capital", "model": "two"})[2]["tokens"],
                         [504, 3575])

    def test_busy(self):
        """Two models write long texts; the third waits for one of them. Neither is cut."""
        ended = []

        def write(model, **options):
            answer = self.complete(model, **options)
            ended.append(model)
            return answer

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            first = pool.submit(write, "one", **MANY)
            second = pool.submit(write, "two", **MANY)
            self.wait_for(lambda: self.loaded() == {"one", "two"} or ended)
            third = pool.submit(write, "three")
            for answer in (first, second):
                self.assertEqual(answer.result().choices[0].finish_reason, "length")
                self.assertEqual(answer.result().usage.completion_tokens, 200)
            self.assertIn("Paris", third.result().choices[0].text)
        self.assertNotEqual(ended[0], "three")

    def test_fair(self):
        """Two models that are always in use make room for a third all the same."""
        stop = threading.Event()

        def go_on(model):
            while not stop.is_set():
                self.assertIn("Paris", self.complete(model, max_tokens=40).choices[0].text)

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            others = [pool.submit(go_on, name) for name in ("one", "two") * 3][:5]
            self.wait_for(lambda: self.loaded() == {"one", "two"})
            try:
                self.assertIn("Paris", self.complete("three").choices[0].text)
            finally:
                stop.set()
            for other in others:
                other.result()

    def test_idle(self):
        """All go when nobody uses them, and come back. Counters stay."""
        self.complete("one")
        drawn = self.server.metric("vllm:generation_tokens_total")
        self.wait_for(lambda: not self.loaded())
        self.assertGreaterEqual(self.server.metric("vllm:generation_tokens_total"), drawn)
        self.assertEqual(self.server.get("/health")[0], 200)
        self.assertIn("Paris", self.complete("two").choices[0].text)
        self.assertIn('model="two"', self.server.get("/metrics")[2])

    def test_gone(self):
        """A client that hangs up while its model is loaded leaves nothing behind."""
        self.wait_for(lambda: not self.loaded())
        impatient = self.client.with_options(timeout=0.2)
        threads = [threading.Thread(target=self.leave, args=(impatient, name)) for name in ("one", "three")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertIn("Paris", self.complete("three").choices[0].text)
        self.wait_for(lambda: not self.loaded())

    def leave(self, client, name):
        try:
            client.completions.create(model=name, prompt=PROMPT, **MANY)
        except openai.APITimeoutError:
            pass


class Draft(server.WithServer):
    """A draft model guesses; the second model has none."""
    flags = ("-c", "256", "--draft", server.MODEL, "--speculate", "draft", "--add-model", "plain=" + server.MODEL)

    def test_text(self):
        request = {"prompt": PROMPT, "max_tokens": 8, "temperature": 0}
        text = self.server.post("/v1/completions", request)[2]["choices"][0]["text"]
        self.assertEqual(text, " Paris.\n\nThe answer is:")
        self.server.until(lambda: self.server.metric("vllm:spec_decode_num_accepted_tokens_total") > 3)
        time.sleep(0.5)  # a step is counted after its tokens
        drafted = self.server.metric("vllm:spec_decode_num_draft_tokens_total")
        other = self.server.post("/v1/completions", {**request, "model": "plain"})[2]
        self.assertEqual(other["choices"][0]["text"], text)
        self.assertEqual(self.server.metric("vllm:spec_decode_num_draft_tokens_total"), drafted)


class Adapted(unittest.TestCase):
    """Adapters are models of their own. What they write is what the model writes with --lora."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = str(pathlib.Path(cls.folder.name, "adapter.gguf"))
        cls.write_adapter(cls.path)
        cls.server = server.Server("-c", "256", "--served-name", "base", "--add-adapter", "whole=" + cls.path,
                                   "--add-adapter", f"none={cls.path}:0")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.server.kill()
        cls.folder.cleanup()

    @staticmethod
    def write_adapter(path):
        """Random additions to ten of the model's matrices."""
        try:
            import numpy as np
        except ImportError:
            raise unittest.SkipTest("numpy is not installed") from None
        sys.path.insert(0, str(pathlib.Path(server.REPO, "scripts")))
        import gguf_file
        out, rng = gguf_file.Writer(), np.random.default_rng(3)
        for key, value in (("type", "adapter"), ("architecture", "llama")):
            out.string("general." + key, value)
        out.string("adapter.type", "lora")
        out.f32("adapter.lora.alpha", 4)
        for layer in range(10):
            name = f"blk.{layer}.attn_output.weight.lora_"
            out.tensor(name + "a", (576, 4), "F32", rng.normal(0, 0.25, (4, 576)).astype("<f4"))
            out.tensor(name + "b", (4, 576), "F32", rng.normal(0, 0.25, (576, 4)).astype("<f4"))
        out.save(path)

    def complete(self, model):
        request = {"model": model, "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
        return self.server.post("/v1/completions", request)[2]["choices"][0]["text"]

    def run_alone(self, *flags):
        out = subprocess.run([server.EVENER, "run", "-m", server.MODEL, "-c", "256", "-p", PROMPT, "-n", "12", "--temp", "0",
                              "--json", "-q", "-d", "pocl", *flags], capture_output=True, text=True, check=True).stdout
        return json.loads(out)["text"]

    def test_texts(self):
        base, whole, none = map(self.complete, ("base", "whole", "none"))
        self.assertNotEqual(base, whole)
        self.assertEqual(whole, self.run_alone("--lora", self.path))
        self.assertEqual(none, self.run_alone("--lora", self.path + ":0"))
        self.assertEqual(base, self.run_alone())

    def test_refused(self):
        for flag, text in (("x", "expected NAME=FILE"), ("x=" + server.MODEL, "an adapter for this model has")):
            run = subprocess.run([server.EVENER, "serve", "-m", server.MODEL, "--port", "0", "--add-adapter", flag],
                                 capture_output=True, text=True, timeout=server.LIMIT_S)
            self.assertNotEqual(run.returncode, 0)
            self.assertIn("--add-adapter: ", run.stderr)
            self.assertIn(text, run.stderr)


class Refused(unittest.TestCase):
    def test_flags(self):
        for flags, text in (
                (("--add-model", "/nope.gguf"), "--add-model: /nope.gguf: No such file"),
                (("--add-model", "x=" + server.MODEL, "--add-model", "x=" + server.MODEL), "two models have the name 'x'"),
                (("--trace", "/dev/null", "--unload-after", "5s"), "--trace follows one model that stays loaded"),
                (("--speculate", "draft"), "--speculate draft needs a draft model"),
                (("--draft", "/nope.gguf"), "/nope.gguf: No such file")):
            run = subprocess.run([server.EVENER, "serve", "-m", server.MODEL, "--port", "0", *flags], capture_output=True,
                                 text=True, timeout=server.LIMIT_S)
            self.assertNotEqual(run.returncode, 0)
            self.assertIn(text, run.stderr)


if __name__ == "__main__":
    server.main()
