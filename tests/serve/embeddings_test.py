"""The unmodified openai client asks for vectors of texts, of an encoder and of a decoder."""
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

import server

server.need_clients()
import openai  # noqa: E402

REPO, WORK = sys.argv[2], tempfile.TemporaryDirectory()
ENCODER = WORK.name + "/e.gguf"
subprocess.run([sys.executable, REPO + "/tests/cli/encoder.py", "make", ENCODER, WORK.name + "/folder"], check=True)
TEXTS = ["the cat and the dog", "a", "x1 y2 z3, w4 v5 u6. the and the cat"]


class Vectors:
    @classmethod
    def setUpClass(cls):
        server.MODEL = cls.model
        super().setUpClass()

    def embed(self, texts, **options):
        return self.client.embeddings.create(model="served", input=texts, **options)

    def ids(self, text):
        return self.server.post("/tokenize", {"content": text, "add_special": True, "parse_special": False})[2]["tokens"]

    def test_forms(self):
        answer = self.embed(TEXTS, encoding_format="float")
        vectors = [d.embedding for d in answer.data]
        self.assertEqual([d.index for d in answer.data], [0, 1, 2])
        for v in vectors:
            self.assertAlmostEqual(sum(x * x for x in v), 1, places=5)
        ids = [self.ids(t) for t in TEXTS]
        self.assertEqual((answer.usage.prompt_tokens, answer.usage.total_tokens), (sum(map(len, ids)),) * 2)
        self.assertEqual([d.embedding for d in self.embed(ids, encoding_format="float").data], vectors)
        self.assertEqual(self.embed(TEXTS[2], encoding_format="float").data[0].embedding, vectors[2])
        self.assertEqual(self.embed(ids[1], encoding_format="float").data[0].embedding, vectors[1])
        self.assertEqual(len(self.embed(TEXTS[0], dimensions=len(vectors[0])).data[0].embedding), len(vectors[0]))
        raw = self.server.post("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64"})[2]
        unpacked = [struct.unpack(f"<{len(v)}f", base64.b64decode(d["embedding"])) for v, d in zip(vectors, raw["data"])]
        self.assertEqual([list(u) for u in unpacked], [[struct.unpack("<f", struct.pack("<f", x))[0] for x in v] for v in vectors])

    def test_refused(self):
        for body, said in (({}, "input"), ({"input": ""}, "text 1 is empty"), ({"input": []}, "0 texts"), ({"input": ["a", 7]}, "the integer|7"),
                           ({"input": [["a"]]}, "token ids"), ({"input": [99999999]}, "token id 99999999"),
                           ({"input": "a", "encoding_format": "int8"}, "float or base64"), ({"input": "a", "dimensions": 7}, "dimensions"),
                           ({"input": "a " * 3000}, "tokens, at most")):
            status, _, answer = self.server.post("/v1/embeddings", body)
            self.assertEqual(status, 400, (body, answer))
            self.assertTrue(any(s in answer["error"]["message"] for s in said.split("|")), (said, answer))
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model="other", input="a")


class Encoder(Vectors, server.WithOpenAI):
    model = ENCODER
    flags = ("--served-name", "served")

    def test_same_as_the_command(self):
        out = subprocess.run([server.EVENER, "embed", "-m", ENCODER, "-p", TEXTS[0], "-d", "pocl", "--json"], check=True, stdout=subprocess.PIPE)
        want = json.loads(out.stdout)["vectors"][0]
        for a, b in zip(self.embed(TEXTS[0]).data[0].embedding, want):
            self.assertAlmostEqual(a, b, places=6)

    def test_no_completions(self):
        status, _, answer = self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
        self.assertEqual(status, 400, answer)
        self.assertIn("an encoder has no next token", answer["error"]["message"])
        self.assertEqual(self.server.get("/metrics")[0], 200)


class Decoder(Vectors, server.WithOpenAI):
    model = WORK.name + "/llama.gguf"
    flags = ("--served-name", "served")
    subprocess.run([REPO + "/scripts/make-tiny-model", model], check=True, stdout=subprocess.DEVNULL)


server.main()
