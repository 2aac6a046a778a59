"""schemathesis sends what the OpenAPI file allows and what it does not: no 5xx, and no answer that the file does not have.

Most of what the file allows is refused, because a file cannot know the names of models or what is a grammar. So there is a
second run with a narrower file, whose requests are mostly answered; it asks for few tokens, and says which part is answered."""
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import server

server.need_model()
server.need_clients()
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ENDPOINTS = {"/v1/chat/completions": 0.5, "/v1/completions": 0.5, "/v1/messages": 0.4, "/v1/messages/count_tokens": 0.4, "/v1/responses": 0.4,
             "/v1/embeddings": 0.5, "/tokenize": 0.5, "/detokenize": 0.2, "/apply-template": 0.5}  # the least part that is answered
SMALL = {"type": "integer", "minimum": 1, "maximum": 3}
NARROW = {"model": {"enum": ["smol", None]}, "max_tokens": SMALL, "max_completion_tokens": SMALL, "max_output_tokens": SMALL, "n": {"enum": [1, 2, None]},
          "grammar": {"type": "null"}, "regex": {"enum": ["[a-z]+", None]}, "logit_bias": {"type": "null"}, "tool_choice": {"type": "null"},
          "response_format": {"enum": [None, {"type": "text"}, {"type": "json_object"}]}, "echo": {"type": "null"},
          "chat_template_kwargs": {"type": "null"}, "dimensions": {"type": "null"}, "top_p": {"enum": [0.5, 1, None]}, "top_logprobs": {"type": "null"}}
LIMITED = ("max_tokens", "max_output_tokens")


def narrow(part):
    """A description of requests without what most servers would refuse, and with a limit of tokens in each."""
    if isinstance(part, list):
        return [narrow(p) for p in part]
    if not isinstance(part, dict):
        return part
    part = {key: narrow(value) for key, value in part.items()}
    items = part.get("items")
    if isinstance(items, dict) and items.get("type") == "integer":
        part["items"] = {"type": "integer", "minimum": 0, "maximum": 40000}  # of the vocabulary
    elif part.get("type") == "array" and "maxItems" in part:
        part["maxItems"] = min(part["maxItems"], 4)
    properties = part.get("properties", {})
    properties.update({name: NARROW[name] for name in NARROW.keys() & properties.keys()})
    if any(name in properties for name in LIMITED):
        part["required"] = [*part.get("required", []), *(name for name in LIMITED if name in properties)]
    if "prompt" in properties:
        properties["prompt"]["anyOf"] = [{"type": "string", "minLength": 1}, *properties["prompt"]["anyOf"][2:3]]
    return part


class Schema(server.WithServer):
    flags = ("-c", "256", "--served-name", "smol")

    @classmethod
    def setUpClass(cls):
        cls.server = server.Server(*cls.flags, log="info")

    def send(self, description, *options):
        environment = dict(os.environ, PYTHONPATH=os.environ["EVENER_CLIENTS_DIR"], HOME=self.server.folder.name)
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", description, "--checks", CHECKS, "--seed", "1", "--request-timeout", "120",
             "--no-color", *options], env=environment, cwd=self.server.folder.name, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stdout[-6000:] + run.stderr[-2000:])
        print(run.stdout[-1500:])

    def test_answers_are_those_of_the_file(self):
        self.send(self.server.url + "/openapi.json", "--max-examples", "60", "--phases", "examples,coverage,fuzzing")

    def test_requests_that_are_answered(self):
        paths = pathlib.Path(self.server.folder.name, "narrow.json")
        description = self.server.get("/openapi.json")[2]
        for name, schema in description["components"]["schemas"].items():
            if name.endswith("Request"):
                description["components"]["schemas"][name] = narrow(schema)
        for path in description["paths"].values():
            for method in path.values():
                if "requestBody" in method:
                    method["requestBody"] = narrow(method["requestBody"])
        paths.write_text(json.dumps(description))
        before = len(self.server.said())
        self.send(str(paths), "--url", self.server.url, "--mode", "positive", "--generation-allow-x00", "false", "--generation-codec", "ascii", "--max-examples", "100", "--phases", "examples,fuzzing")
        counts = collections.defaultdict(collections.Counter)
        for path, status in re.findall(r"POST (\S+): (\d+)", self.server.said()[before:]):
            counts[path][status] += 1
        for path, least in ENDPOINTS.items():
            n = sum(counts[path].values())
            print(path, dict(counts[path]))
            self.assertGreater(n, 50, path)
            self.assertGreaterEqual(counts[path]["200"], least * n, path)


if __name__ == "__main__":
    server.main()
